"""Where a user's history and its version come from: the bundle, and what was given since.

The bundle's histories are those the model was trained with, at version 0. Ratings given since are
a delta over them (`stores.ratings`). The stamp is all a cached answer depends on besides the bundle
and the parameters, so it must be cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from models.bundle import UserHistories
from models.catalog import Catalog
from models.histories import Histories
from models.manifest import RatingScale
from service.errors import Fault, InvalidRequest, UnknownItem
from service.schemas import GivenRating
from service.stores.ratings import Delta, RatingsStore

BUNDLE_VERSION = "0"
NAMED = 10  # ids an error names before it only counts


class Stamp(NamedTuple):
    """What an answer was made from. `owner` is None for an empty history, whoever's it is."""

    owner: str | None
    version: str


class HistorySource(Protocol):
    """Where histories come from."""

    async def stamp(self, user_id: str) -> Stamp:
        """The owner and version of a user's history."""
        ...

    async def read(self, user_id: str) -> tuple[Stamp, Histories]:
        """A user's history (one row, sorted by item) and the stamp it was read under."""
        ...


class BundleHistories:
    """The histories the model was trained with."""

    def __init__(self, users: UserHistories) -> None:
        self._users = users
        self._row = lru_cache(maxsize=4096)(self._find_row)  # a request asks twice, and may again

    async def stamp(self, user_id: str) -> Stamp:
        """Version 0; a user nobody knows, or without ratings, has an empty history."""
        return Stamp(user_id if self._row(user_id) is not None else None, BUNDLE_VERSION)

    async def read(self, user_id: str) -> tuple[Stamp, Histories]:
        """The bundle's history of a user."""
        row = self._row(user_id)
        if row is None:
            return Stamp(None, BUNDLE_VERSION), Histories.empty(1)
        return Stamp(user_id, BUNDLE_VERSION), self._users.history_at(row)

    async def read_many(self, user_ids: Sequence[str]) -> list[tuple[Stamp, Histories]]:
        """The bundle's histories of several users."""
        return [await self.read(user_id) for user_id in user_ids]

    def _find_row(self, user_id: str) -> int | None:
        if len(user_id) > self._users.ids.itemsize:
            return None  # longer than any known id: comparing would copy the whole column
        row = self._users.row_of(user_id)
        if row is None:
            return None
        offsets = self._users.histories.offsets
        return row if offsets[row + 1] > offsets[row] else None


class StoredHistories:
    """The bundle's histories with what users changed since. Raises RatingsUnavailable."""

    def __init__(
        self, bundled: BundleHistories, store: RatingsStore, catalog: Catalog, scale: RatingScale
    ) -> None:
        self._bundled = bundled
        self._store = store
        self._catalog = catalog
        self._scale = scale

    async def stamp(self, user_id: str) -> Stamp:
        """The token of the user's last change; without one, the bundle's stamp."""
        version = await self._store.version(user_id)
        return await self._bundled.stamp(user_id) if version is None else Stamp(user_id, version)

    async def read(self, user_id: str) -> tuple[Stamp, Histories]:
        """The history as it is now, under the version it was read with."""
        return await self._laid_over(user_id, await self._store.read(user_id))

    async def read_many(self, user_ids: Sequence[str]) -> list[tuple[Stamp, Histories]]:
        """The histories of several users; each as of one moment, not all as of the same."""
        deltas = await self._store.read_many(user_ids)
        pairs = zip(user_ids, deltas, strict=True)
        return [await self._laid_over(user_id, delta) for user_id, delta in pairs]

    async def _laid_over(self, user_id: str, delta: Delta) -> tuple[Stamp, Histories]:
        stamp, history = await self._bundled.read(user_id)
        if delta.version is None:
            return stamp, history
        return Stamp(user_id, delta.version), changed(history, delta, self._catalog, self._scale)


KnownHistories = BundleHistories | StoredHistories


def changed(history: Histories, delta: Delta, catalog: Catalog, scale: RatingScale) -> Histories:
    """One history (one row) with a delta over it, sorted by item.

    Items this catalogue lacks and ratings off this model's scale stay in the store and are left
    out: another model may know them.
    """
    ratings = (
        {}
        if delta.cleared
        else dict(zip(history.items.tolist(), history.ratings.tolist(), strict=True))
    )
    for item_id, given in delta.ratings.items():
        row = catalog.index_by_id.get(item_id)
        if row is not None:
            ratings.pop(row, None)
            if given is not None and scale.contains(given.rating):
                ratings[row] = given.rating
    items = np.array(sorted(ratings), np.int64)
    values = np.array([ratings[item] for item in items.tolist()], np.float32)
    return Histories(items, values, np.array([0, len(items)], np.int64))


def history_of_ratings(
    ratings: Sequence[GivenRating],
    catalog: Catalog,
    scale: RatingScale,
    where: str = "body ratings",
) -> Histories:
    """Ratings sent in a request, as one history in the order a stored one has.

    Raises UnknownItem or InvalidRequest naming the ratings at fault and the part they came in.
    """
    items = known_items([rating.item_id for rating in ratings], catalog, where)
    _check_scale(ratings, scale, where)
    _check_unique(ratings)
    order = np.argsort(items, kind="stable")
    values = np.array([rating.rating for rating in ratings], np.float32)
    return Histories(items[order], values[order], np.array([0, len(items)], np.int64))


def known_items(item_ids: Sequence[str], catalog: Catalog, where: str) -> np.ndarray:
    """int64 [n]: the item index of each id. Raises UnknownItem naming those there are not."""
    index = catalog.index_by_id
    found = [index.get(item_id, -1) for item_id in item_ids]
    if -1 in found:
        unknown = sorted({i for i, row in zip(item_ids, found, strict=True) if row < 0})
        raise UnknownItem(
            f"The catalogue has no item {_listed(unknown)}.",
            [Fault(where, f"{item_id} is not in the catalogue") for item_id in unknown[:NAMED]],
        )
    return np.array(found, np.int64)


def _check_scale(ratings: Sequence[GivenRating], scale: RatingScale, where: str) -> None:
    outside = [r for r in ratings if not scale.contains(r.rating)]
    if outside:
        bounds = f"{scale.minimum:g} to {scale.maximum:g} in steps of {scale.step:g}"
        raise InvalidRequest(
            f"Ratings go from {bounds}, and that of item {outside[0].item_id} is "
            f"{outside[0].rating:g}.",
            [Fault(where, f"{r.item_id}: not one of {bounds}") for r in outside[:NAMED]],
        )


def _check_unique(ratings: Sequence[GivenRating]) -> None:
    seen: set[str] = set()
    for rating in ratings:
        if rating.item_id in seen:
            raise InvalidRequest(
                f"Item {rating.item_id} is rated twice; send one rating for each item.",
                [Fault("body ratings", f"{rating.item_id} occurs twice")],
            )
        seen.add(rating.item_id)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
