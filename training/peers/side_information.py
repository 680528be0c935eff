"""What a peer may be told beside ratings, as groups of categories.

    users   each attribute of the user: age group, gender, occupation, region
    items   genres, year of release
    dates   the day of the rating, of asked pairs too: when somebody rates is known before what

Days are those of the rows to fit on; a pair of another day has none. Whatever the source does not
say is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.peers.side_exchange import Group, Groups, SideInformation
from training.ratings import Ratings
from training.split import Rows

Kind = Literal["users", "items", "dates"]
DAY_SECONDS = 86_400


def side_information(
    ratings: Ratings, rows: Rows, asked: Sequence[Rows], kinds: Sequence[Kind]
) -> SideInformation:
    """The named kinds of side information for a fit on `rows` and questions about `asked` rows.

    Raises ValueError if dates are wanted of ratings that have none.
    """
    dated = _days(ratings, rows, [rows, *asked]) if "dates" in kinds else [()] * (1 + len(asked))
    return SideInformation(
        users=_users(ratings) if "users" in kinds else (),
        items=_items(ratings) if "items" in kinds else (),
        rows=dated[0],
        pairs=tuple(dated[1:]),
    )


def _users(ratings: Ratings) -> Groups:
    known = ratings.user_attributes
    if known is None:
        return ()
    columns = zip(known.codes_UA.T, known.categories, strict=True)
    return tuple(_one_of(codes, len(categories)) for codes, categories in columns if categories)


def _items(ratings: Ratings) -> Groups:
    catalog = ratings.catalog
    rows, columns = np.nonzero(catalog.genres)
    genres = Group(
        len(catalog), len(catalog.genre_names), rows.astype(np.int64), columns.astype(np.int64)
    )
    years = np.unique(catalog.years[catalog.years > 0])
    groups = (genres, _one_of(_codes(years, catalog.years), len(years)))
    return tuple(group for group in groups if group.width)


def _days(ratings: Ratings, rows: Rows, places: Sequence[Rows]) -> list[Groups]:
    if ratings.times is None:
        raise ValueError(f"{ratings.origin.source} has no dates.")
    days = ratings.times // DAY_SECONDS
    known = np.unique(days[rows])
    return [(_one_of(_codes(known, days[place]), len(known)),) for place in places]


def _codes(known: NDArray[np.generic], values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Position of each value among the known ones, which ascend; -1 where it is none of them."""
    places = np.searchsorted(known, values).clip(max=max(len(known) - 1, 0))
    return np.where(np.isin(values, known), places, -1).astype(np.int64)


def _one_of(codes: NDArray[np.integer], width: int) -> Group:
    """One column per category; a row whose code is -1 has none."""
    rows = np.flatnonzero(codes >= 0)
    return Group(len(codes), width, rows.astype(np.int64), codes[rows].astype(np.int64))
