"""A few users as a reader can judge them: what they liked best, and what they would be offered.

Users are taken at fixed places in the order of history length, so nobody chose them for their
looks. The top 10 is made as everywhere: visible items excluded, the rest of the catalogue ranked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.catalog import Catalog
from models.histories import Histories
from models.manifest import RatingScale
from training.evaluation.metrics import NO_ITEM, top_items
from training.evaluation.record import Record
from training.ratings import Ratings

if TYPE_CHECKING:
    from training.evaluation.network_predictor import NetworkPredictor
    from training.split import Fold

PLACES = (0.1, 0.4, 0.7, 0.95)  # of the users by history length
OFFERED = 10
FAVOURITES = 10


class Item(Record):
    """An item as people know it."""

    item_id: str
    title: str
    year: int | None
    genres: tuple[str, ...]


class Favourite(Item):
    """An item of the visible history and its rating."""

    rating: float


class Offer(Item):
    """One place of a top 10.

    predicted, low, high: stars and their interval, clipped to the scale; None where the protocol
    reports no stars. given: the user's own rating, if it is one of the hidden.
    """

    preference: float
    predicted: float | None
    low: float | None
    high: float | None
    given: float | None


class Example(Record):
    """A user: favourites of the `visible` ratings, best first, and offers, best first."""

    fold: str
    user_id: str
    visible: int
    hidden: int
    mean_rating: float
    favourites: tuple[Favourite, ...]
    offers: tuple[Offer, ...]


def show_examples(
    predictor: NetworkPredictor, ratings: Ratings, fold: Fold, *, stars: bool
) -> list[Example]:
    """Some users of a fold who have a visible and a hidden rating; fewer where there are few."""
    visible, hidden = ratings.histories(fold.visible), ratings.histories(fold.hidden)
    users = _chosen(visible.lengths, hidden.lengths)
    seen, kept_back = visible.take(users), hidden.take(users)
    scores_BI = np.array(predictor.score(seen), np.float32)
    scores_BI[seen.rows, seen.items] = -np.inf
    ranked_BK = top_items(scores_BI, OFFERED)
    return [
        Example(
            fold=fold.name,
            user_id=ratings.user_ids[user].decode(),
            visible=int(seen.lengths[row]),
            hidden=int(kept_back.lengths[row]),
            mean_rating=float(seen.of(row)[1].mean()),
            favourites=_favourites(ratings.catalog, *seen.of(row)),
            offers=_offers(
                predictor, ratings, seen.take([row]), kept_back.take([row]), scores_BI[row],
                ranked_BK[row], stars=stars,
            ),
        )
        for row, user in enumerate(users.tolist())
    ]  # fmt: skip


def _chosen(visible_U: NDArray[np.int64], hidden_U: NDArray[np.int64]) -> NDArray[np.int64]:
    """The users at PLACES, by history length, then by their number."""
    able = np.flatnonzero((visible_U > 0) & (hidden_U > 0))
    ascending = able[np.argsort(visible_U[able], kind="stable")]
    if not len(ascending):
        return ascending
    places = np.unique([int(place * len(ascending)) for place in PLACES])
    chosen: NDArray[np.int64] = ascending[places]
    return chosen


def _favourites(
    catalog: Catalog, items: NDArray[np.int64], given: NDArray[np.float32]
) -> tuple[Favourite, ...]:
    best = np.argsort(-given, kind="stable")[:FAVOURITES]
    return tuple(
        Favourite(**_described(catalog, item), rating=rating)
        for item, rating in zip(items[best].tolist(), given[best].tolist(), strict=True)
    )


def _offers(
    predictor: NetworkPredictor,
    ratings: Ratings,
    seen: Histories,
    kept_back: Histories,
    scores_I: NDArray[np.float32],
    ranked_K: NDArray[np.int64],
    *,
    stars: bool,
) -> tuple[Offer, ...]:
    items = ranked_K[ranked_K != NO_ITEM]
    none: list[tuple[float | None, float | None, float | None]] = [(None, None, None)] * len(items)
    ends = _stars(predictor, ratings.scale, seen, items) if stars else none
    hidden = dict(zip(kept_back.items.tolist(), kept_back.ratings.tolist(), strict=True))
    return tuple(
        Offer(
            **_described(ratings.catalog, item),
            preference=float(scores_I[item]),
            predicted=predicted,
            low=low,
            high=high,
            given=hidden.get(item),
        )
        for item, (predicted, low, high) in zip(items.tolist(), ends, strict=True)
    )


def _stars(
    predictor: NetworkPredictor, scale: RatingScale, seen: Histories, items: NDArray[np.int64]
) -> list[tuple[float | None, float | None, float | None]]:
    """Predicted rating and both ends of its interval, item by item."""
    predicted, spread = predictor.rate_with_spread(seen, np.zeros_like(items), items)
    reach = predictor.interval.multiplier * spread
    low = np.maximum(predicted - reach, scale.minimum)
    high = np.minimum(predicted + reach, scale.maximum)
    return list(zip(predicted.tolist(), low.tolist(), high.tolist(), strict=True))


def _described(catalog: Catalog, item: int) -> dict[str, object]:
    return {
        "item_id": catalog.ids[item],
        "title": catalog.titles[item],
        "year": int(catalog.years[item]) or None,
        "genres": tuple(catalog.genres_of(item)),
    }
