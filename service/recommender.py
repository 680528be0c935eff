"""The use case: whose history, which items may be answered, what the graphs say of them.

Everything that answers goes through here, whether it was asked over REST or through the typed
BentoML method. A stored user and the same ratings in a request become the same jobs, and so get
the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.histories import Histories
from service.answers import AnswerWriter, addressed, many
from service.batcher import MicroBatcher
from service.catalogue import Catalogue
from service.engine import Engine, Estimates, Ranking, RankJob, RateJob
from service.errors import InvalidRequest
from service.explainer import Explainer
from service.filters import Filters
from service.histories import KnownHistories, history_of_ratings, known_items
from service.known_users import KnownUsers
from service.left_out import LEFT_OUT_RATINGS
from service.metrics import Metrics
from service.rounding import Rounding
from service.schemas import GivenRating, Selection
from service.stores.cache import AnswerCache, CacheState, Key, answer_key
from service.top_items import TopItems, basis_of, own_ratings
from service.user_ratings import UserRatings


class Answer(NamedTuple):
    """A finished answer. `key` is None for what is never cached."""

    body: bytes
    cache: CacheState
    key: Key | None = None


class Recommender:
    """Answers with one bundle. Its parts are handed in; it owns none of them."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        ranker: MicroBatcher[RankJob, Ranking],
        rater: MicroBatcher[RateJob, Estimates],
        histories: KnownHistories,
        cache: AnswerCache,
        ratings: UserRatings,
        metrics: Metrics,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self._histories = histories
        self._cache = cache
        self.ratings = ratings
        self._metrics = metrics
        filters = Filters(bundle.catalog)
        self._top_items = TopItems(
            bundle.catalog, filters, ranker, rater, Rounding(bundle.manifest)
        )
        self._writer = AnswerWriter(bundle)
        self.catalogue = Catalogue(bundle, filters)
        self.users = KnownUsers(bundle)
        self.explainer = Explainer(bundle, rater, histories, metrics)

    async def key_of(self, user_id: str, selection: Selection) -> Key:
        """The key of a stored user's answer; it costs no model and no cache."""
        stamp = await self._histories.stamp(user_id)
        return answer_key(self.bundle.digest, stamp, selection.canonical)

    async def for_user(self, user_id: str, selection: Selection, key: Key) -> Answer:
        """A stored user's top k; a cold-start answer for a user nobody knows.

        Raises UnknownItem or UnknownGenre for what the catalogue lacks, Overloaded.
        """

        async def compute() -> tuple[Key, bytes]:
            stamp, history = await self._histories.read(user_id)
            bodies = await self._rank([history], selection, "query")
            return answer_key(self.bundle.digest, stamp, selection.canonical), bodies[0]

        found = await self._cache.get(key, compute)
        return Answer(addressed(user_id, found.answer), found.state, found.key)

    async def for_users(self, user_ids: Sequence[str], selection: Selection) -> Answer:
        """The top k of each user, in order, in as few runs of the graph as they fit in."""
        histories = [history for _, history in await self._histories.read_many(user_ids)]
        bodies = await self._rank(histories, selection, "body")
        answers = [addressed(u, body) for u, body in zip(user_ids, bodies, strict=True)]
        return Answer(many(answers), CacheState.OFF)

    async def for_ratings(self, ratings: Sequence[GivenRating], selection: Selection) -> Answer:
        """The top k for ratings nobody stored. Raises as `for_user`, and for bad ratings."""
        history = self._given(ratings)
        bodies = await self._rank([history], selection, "body")
        return Answer(addressed(None, bodies[0]), CacheState.OFF)

    async def predict(
        self,
        user_id: str | None,
        ratings: Sequence[GivenRating] | None,
        item_ids: Sequence[str],
    ) -> Answer:
        """Predicted ratings of named items, for a stored user or for ratings in the request."""
        items = known_items(item_ids, self.bundle.catalog, "body item_ids")
        if user_id is not None:
            _, history = await self._histories.read(user_id)
        else:
            history = self._given(ratings or ())
        _check_left_out(history, items)
        estimates = await self._top_items.rate(history, items)
        basis = basis_of(history)
        body = self._writer.predictions(
            basis, items, estimates.ratings, estimates.spreads, own_ratings(history)
        )
        self._metrics.answers.labels(basis).inc()
        return Answer(addressed(user_id, body), CacheState.OFF)

    async def close(self) -> None:
        """Let go of the connections to both Redis."""
        await self._cache.close()
        await self.ratings.close()

    def _given(self, ratings: Sequence[GivenRating]) -> Histories:
        scale = self.bundle.manifest.rating_scale
        return history_of_ratings(ratings, self.bundle.catalog, scale)

    async def _rank(
        self, histories: Sequence[Histories], selection: Selection, where: str
    ) -> list[bytes]:
        """The bodies, without user ids, of the top k of each history."""
        bodies = []
        for basis, best, own in await self._top_items.of(histories, selection, where):
            self._metrics.answers.labels(basis).inc()
            bodies.append(self._writer.recommendations(basis, selection.k, best, own))
        return bodies


def _check_left_out(history: Histories, items: NDArray[np.int64]) -> None:
    rated = int(np.isin(items, history.items).sum())
    if rated * len(history.items) > LEFT_OUT_RATINGS:
        raise InvalidRequest(
            f"{rated} of the items are already rated, and each is predicted from the "
            f"{len(history.items) - 1} other ratings; ask for fewer at once."
        )
