"""The use case of ratings: what a user has rated, read, given, taken back.

A rating that was given counts in the very next answer; nothing is trained again. Answers name the
ratings of both sources alike, the bundle's and those given since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models.bundle import Bundle
from models.catalog import Catalog
from service.answers import to_json
from service.errors import NotRated, RatingsNotKept
from service.histories import BundleHistories, changed, history_of_ratings, known_items
from service.schemas import GivenRating
from service.stores.ratings import Delta, Given, RatingsStore

Clock = Callable[[], float]


class UserRatings:
    """Ratings by user over one bundle and, if there is one, the store of what was given since."""

    def __init__(self, bundle: Bundle, store: RatingsStore | None, clock: Clock) -> None:
        """clock: Unix seconds, for ratings that do not say when they were given."""
        self._bundle = bundle
        self._bundled = BundleHistories(bundle.users)
        self._store = store
        self._clock = clock

    async def all_of(self, user_id: str) -> bytes:
        """The document of a user's ratings, by item id. Raises RatingsUnavailable."""
        delta = await self._delta(user_id)
        ratings = await self._listed(user_id, delta)
        return to_json({"user_id": user_id, "ratings": ratings})

    async def one_of(self, user_id: str, item_id: str) -> bytes:
        """The document of one rating. Raises NotRated, RatingsUnavailable."""
        ratings = await self._listed(user_id, await self._delta(user_id))
        for rating in ratings:
            if rating["item_id"] == item_id:
                return to_json({"user_id": user_id} | rating)
        raise NotRated(f"User {user_id} has not rated item {item_id}.")

    async def give(self, user_id: str, rating: GivenRating) -> bytes:
        """Keep one rating, in the place of any before it; the document of it.

        Raises UnknownItem or InvalidRequest for what the model does not know, HistoryFull,
        RatingsNotKept, RatingsUnavailable.
        """
        known_items([rating.item_id], self._bundle.catalog, "item_id")
        given = self._checked([rating], "body rating")
        await self._kept().change(user_id, given)
        told = _told(rating.item_id, given[rating.item_id], True)
        return to_json({"user_id": user_id} | _titled(told, self._bundle.catalog))

    async def replace(self, user_id: str, ratings: Sequence[GivenRating]) -> bytes:
        """Make these all that the user has rated; the document of them. Raises as `give`."""
        given = self._checked(ratings, "body ratings")
        await self._kept().replace(user_id, given)
        catalog = self._bundle.catalog
        told = [_titled(_told(item, given[item], True), catalog) for item in sorted(given)]
        return to_json({"user_id": user_id, "ratings": told})

    async def take_back(self, user_id: str, item_id: str) -> None:
        """Forget one rating, the bundle's included; no rating is as good as none."""
        await self._kept().change(user_id, {item_id: None})

    async def forget(self, user_id: str) -> None:
        """Forget all that a user has rated; the user is then one that nobody knows."""
        await self._kept().replace(user_id, {})

    async def close(self) -> None:
        """Let go of the store's connections."""
        if self._store is not None:
            await self._store.close()

    def _kept(self) -> RatingsStore:
        if self._store is None:
            raise RatingsNotKept("USHER_RATINGS_URL names no Redis, so no rating can be kept.")
        return self._store

    def _checked(self, ratings: Sequence[GivenRating], where: str) -> dict[str, Given]:
        scale = self._bundle.manifest.rating_scale
        history_of_ratings(ratings, self._bundle.catalog, scale, where)
        now = int(self._clock())
        return {
            rating.item_id: Given(
                rating.rating, now if rating.rated_at is None else rating.rated_at
            )
            for rating in ratings
        }

    async def _delta(self, user_id: str) -> Delta:
        return Delta() if self._store is None else await self._store.read(user_id)

    async def _listed(self, user_id: str, delta: Delta) -> list[dict[str, Any]]:
        """Every rating that stands, those of items this model lacks included, by item id."""
        catalog, scale = self._bundle.catalog, self._bundle.manifest.rating_scale
        _, bundled = await self._bundled.read(user_id)
        history = changed(bundled, delta, catalog, scale)
        by_item = dict(zip(history.items.tolist(), history.ratings.tolist(), strict=True))
        told = {
            catalog.ids[row]: _told(catalog.ids[row], Given(rating, None), True)
            for row, rating in by_item.items()
        }
        for item_id, given in delta.ratings.items():
            if given is not None:
                counts = catalog.index_by_id.get(item_id) in by_item
                told[item_id] = _told(item_id, given, counts)
        return [_titled(told[item_id], catalog) for item_id in sorted(told)]


def _told(item_id: str, given: Given, counts: bool) -> dict[str, Any]:
    rating = round(float(given.rating), 3)
    return {"item_id": item_id, "rating": rating, "rated_at": given.rated_at, "counts": counts}


def _titled(told: dict[str, Any], catalog: Catalog) -> dict[str, Any]:
    row = catalog.index_by_id.get(told["item_id"])
    if row is None:
        return told | {"title": None, "year": None}
    return told | {"title": catalog.titles[row], "year": int(catalog.years[row]) or None}
