"""The use case of explanations: which of a user's own ratings moved an item most.

Each rating is left out of the history in turn, and the item is rated and scored with and without
it; all of it is one submission to the micro-batcher. The differences are what the model really
does, not a story beside it, but they do not add up: what two ratings say together is in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.histories import Histories
from service.answers import model_members, shortfall, to_json
from service.batcher import MicroBatcher
from service.catalogue import item_of
from service.engine import Estimates, RateJob
from service.histories import HistorySource, history_of_ratings, known_items
from service.left_out import without
from service.metrics import Metrics
from service.rounding import rounded
from service.schemas import Basis, GivenRating

MAX_EXPLAINED = 200
ENCODED_RATINGS = 200_000
"""Ratings encoded for one explanation at most: the graph's thread is kept from others meanwhile."""


class Explainer:
    """Explains with one bundle; its parts are the recommender's."""

    def __init__(
        self,
        bundle: Bundle,
        rater: MicroBatcher[RateJob, Estimates],
        histories: HistorySource,
        metrics: Metrics,
    ) -> None:
        self._catalog = bundle.catalog
        self._scale = bundle.manifest.rating_scale
        self._columns = bundle.items
        self._model = model_members(bundle)
        self._rater = rater
        self._histories = histories
        self._metrics = metrics

    async def explain(self, user_id: str, item_id: str) -> bytes:
        """How a stored user's ratings moved the item. Raises NoSuchItem, Overloaded."""
        item = item_of(item_id, self._catalog)
        _, whole = await self._histories.read(user_id)
        return await self._explained(user_id, whole, item)

    async def explain_given(self, ratings: Sequence[GivenRating], item_id: str) -> bytes:
        """The same for ratings nobody stored. Raises UnknownItem, InvalidRequest, Overloaded."""
        item = int(known_items([item_id], self._catalog, "body item_id")[0])
        whole = history_of_ratings(ratings, self._catalog, self._scale)
        return await self._explained(None, whole, item)

    async def _explained(self, user_id: str | None, whole: Histories, item: int) -> bytes:
        """The ratings of a history that moved the item's preference score most come first.

        The user's own rating of the item is left out before anything is computed. At most
        MAX_EXPLAINED ratings are left out in turn, fewer where the histories together would have
        more than ENCODED_RATINGS; `choose` says which, and the answer says that there are more.
        """
        history = without(whole, item)
        chosen = self.choose(item, history)
        target = np.array([item], np.int64)
        rated = [history, *(without(history, other) for other in history.items[chosen].tolist())]
        estimates = await self._rater.submit([RateJob(one, target) for one in rated])
        basis: Basis = "history" if len(history.items) else "cold_start"
        self._metrics.answers.labels(basis).inc()
        own = whole.ratings[whole.items == item]
        members = {
            "user_id": user_id,
            "basis": basis,
            "model": self._model,
            "item": self._named(item)
            | {
                "predicted_rating": rounded(estimates[0].ratings)[0],
                "preference_score": rounded(estimates[0].scores)[0],
                "rating": rounded(own)[0] if len(own) else None,
            },
            "ratings": self._moves(history, chosen, estimates),
        }
        if len(chosen) < len(history.items):
            members["shortfall"] = shortfall(
                len(history.items),
                len(chosen),
                "of the user's ratings were left out in turn: those of the item's nearest "
                "neighbours, then those that differ most from the user's mean",
            )
        return to_json(members)

    def choose(self, item: int, history: Histories) -> NDArray[np.int64]:
        """Which entries of a history to leave out in turn, ascending.

        All, where they are few enough. A stored history has no times, so the latest are not known:
        those are taken that are most likely to have moved the item, which are the ratings of its
        neighbours, the nearest first, then those farthest from the user's mean, of these the
        rarer items'.
        """
        items, ratings = history.items, history.ratings
        allowed = ENCODED_RATINGS // max(len(items), 1) - 1  # the whole history is encoded too
        count = min(len(items), MAX_EXPLAINED, max(allowed, 1))
        if count == len(items):
            return np.arange(count)
        near = {other: place for place, other in enumerate(self._columns.neighbours[item].tolist())}
        nearness = np.array([near.get(other, len(near)) for other in items.tolist()])
        strength = np.abs(ratings - ratings.mean(dtype=np.float64))
        order = np.lexsort((self._columns.rating_counts[items], -strength, nearness))
        return np.sort(order[:count])

    def _moves(
        self, history: Histories, chosen: NDArray[np.int64], estimates: list[Estimates]
    ) -> list[dict[str, Any]]:
        """What each chosen rating changed, the largest change of the score first."""
        with_all, lacking = estimates[0], estimates[1:]
        rating_changes = np.array([float(with_all.ratings[0] - one.ratings[0]) for one in lacking])
        score_changes = np.array([float(with_all.scores[0] - one.scores[0]) for one in lacking])
        order = np.lexsort((-np.abs(rating_changes), -np.abs(score_changes)))
        rows = zip(
            history.items[chosen][order].tolist(),
            rounded(history.ratings[chosen][order]),
            rounded(rating_changes[order]),
            rounded(score_changes[order]),
            strict=True,
        )
        return [
            self._named(other)
            | {
                "rating": rating,
                "predicted_rating_change": rating_change,
                "preference_score_change": score_change,
            }
            for other, rating, rating_change, score_change in rows
        ]

    def _named(self, item: int) -> dict[str, Any]:
        return {"item_id": self._catalog.ids[item], "title": self._catalog.titles[item]}
