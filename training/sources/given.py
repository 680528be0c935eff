"""Ratings people gave a service, laid over the data it was trained on.

The file is what `make pull-ratings` writes: columns user, item, rating, time. A row without a
rating takes the data's rating of the pair back; one without an item forgets all the data has of the
user. What remains is sorted anew: users and items without a rating are gone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.catalog import Catalog
from training.errors import DataError
from training.ratings import Origin, Ratings, UserAttributes
from training.sources.assembly import packed_pairs
from training.sources.delimited import require_file
from training.sources.identifiers import ALLOWED
from training.sources.scales import describe_scale, off_scale

SCHEMA = {"user": pl.String, "item": pl.String, "rating": pl.Float32, "time": pl.Int64}


def with_given(ratings: Ratings, path: Path) -> Ratings:
    """The ratings with those of the file over them; of items the data lacks nothing is taken.

    Rows of the data keep their order and given ones follow in that of the file. Raises DataError
    naming the first line at fault.
    """
    given = _read(path, ratings)
    ids = given["user"].to_numpy().astype(np.bytes_)
    user_ids, numbers = np.unique(np.concatenate([ratings.user_ids, ids]), return_inverse=True)
    users = numbers[: len(ratings.user_ids)].astype(np.int32)[ratings.users]
    index = ratings.catalog.index_by_id
    items_G = given["item"].map_elements(lambda item: index.get(item, -1), return_dtype=pl.Int32)
    users_G = numbers[len(ratings.user_ids) :].astype(np.int32)
    forgets_G = given["item"].is_null().to_numpy()
    rows_G = items_G.fill_null(-1).to_numpy()
    known_G = rows_G >= 0
    changed = packed_pairs(users_G[known_G], rows_G[known_G])
    kept = ~np.isin(users, users_G[forgets_G])
    kept &= ~np.isin(packed_pairs(users, ratings.items), changed)
    taken_G = known_G & given["rating"].is_not_null().to_numpy()
    times = ratings.times
    if times is not None:
        times = np.concatenate([times[kept], given["time"].to_numpy()[taken_G].astype(np.int64)])
    return _compact(
        replace(
            ratings,
            users=np.concatenate([users[kept], users_G[taken_G]]),
            items=np.concatenate([ratings.items[kept], rows_G[taken_G]]),
            values=np.concatenate([ratings.values[kept], given["rating"].to_numpy()[taken_G]]),
            times=times,
            user_ids=user_ids,
            origin=Origin(f"{ratings.origin.source} and {path.name}", ratings.origin.licence),
            user_attributes=_widened(ratings.user_attributes, numbers, len(user_ids)),
        ),
        path,
    )


def _read(path: Path, ratings: Ratings) -> pl.DataFrame:
    require_file(path)
    try:
        frame = pl.read_csv(path, schema_overrides=SCHEMA, glob=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if frame.columns != list(SCHEMA):
        raise DataError(
            f"{path} has the columns {', '.join(frame.columns)}; make pull-ratings writes "
            f"{', '.join(SCHEMA)}."
        )
    rated = pl.col("rating").is_not_null()
    timeless = rated & pl.col("time").is_null() & (ratings.times is not None)
    _refuse(path, frame, ~pl.col("user").fill_null("").str.contains(ALLOWED), "the user is no id")
    _refuse(path, frame, rated & pl.col("item").is_null(), "there is a rating of no item")
    _refuse(path, frame, timeless, "the time is missing, and the data is dated")
    off = off_scale(frame["rating"].fill_null(ratings.scale.minimum).to_numpy(), ratings.scale)
    scale = describe_scale(ratings.scale)
    _refuse(path, frame, pl.lit(pl.Series(off)), f"the rating is not on the scale {scale}")
    twice = pl.struct("user", "item").is_duplicated()
    _refuse(path, frame, twice, "the pair of user and item occurs twice")
    return frame


def _refuse(path: Path, frame: pl.DataFrame, wrong: pl.Expr, why: str) -> None:
    found = frame.with_row_index().filter(wrong)["index"]
    if len(found):
        raise DataError(f"{path}, line {found[0] + 2}: {why}; correct or remove the line.")


def _widened(
    attributes: UserAttributes | None, numbers: NDArray[np.intp], users: int
) -> UserAttributes | None:
    """The attributes of a wider set of users; of new ones nothing is known."""
    if attributes is None:
        return None
    codes = np.full((users, attributes.codes_UA.shape[1]), -1, np.int32)
    codes[numbers[: len(attributes.codes_UA)]] = attributes.codes_UA
    return replace(attributes, codes_UA=codes)


def _compact(ratings: Ratings, path: Path) -> Ratings:
    """The same ratings without the users and items that have none left."""
    if not len(ratings):
        raise DataError(f"{path} takes every rating back; there is nothing left to fit.")
    users, user_of = np.unique(ratings.users, return_inverse=True)
    items, item_of = np.unique(ratings.items, return_inverse=True)
    attributes = ratings.user_attributes
    return replace(
        ratings,
        users=user_of.astype(np.int32),
        items=item_of.astype(np.int32),
        user_ids=ratings.user_ids[users],
        catalog=_some(ratings.catalog, items),
        user_attributes=attributes and replace(attributes, codes_UA=attributes.codes_UA[users]),
    )


def _some(catalog: Catalog, rows: NDArray[Any]) -> Catalog:
    if len(rows) == len(catalog):
        return catalog
    return Catalog(
        [catalog.ids[row] for row in rows.tolist()],
        [catalog.titles[row] for row in rows.tolist()],
        catalog.years[rows],
        catalog.genre_names,
        catalog.genres[rows],
    )
