"""The best items for histories, and what is predicted of them: from histories to runs of graphs.

Whoever asks for a top k comes here, a request or a batch of all users, so that the same history
gets the same answer. Who runs the graphs, and how many jobs at once, is the runners' to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.catalog import Catalog
from models.histories import Histories
from service.engine import Estimates, Ranking, RankJob, RateJob
from service.filters import Filters
from service.histories import known_items
from service.left_out import without
from service.rounding import Rounding
from service.schemas import Basis, Selection

Job = TypeVar("Job", contravariant=True)
Result = TypeVar("Result")


class Runner(Protocol[Job, Result]):
    """Runs jobs of one graph."""

    async def submit(self, jobs: Sequence[Job]) -> list[Result]:
        """What becomes of each job, in order."""
        ...


class Top(NamedTuple):
    """The best items for one history. `own`: its ratings by item, if they may be among them."""

    basis: Basis
    best: Ranking
    own: Mapping[int, float]


class TopItems:
    """Ranks the items of one catalogue."""

    def __init__(
        self,
        catalog: Catalog,
        filters: Filters,
        ranker: Runner[RankJob, Ranking],
        rater: Runner[RateJob, Estimates],
        rounding: Rounding,
    ) -> None:
        self._catalog = catalog
        self._filters = filters
        self._ranker = ranker
        self._rater = rater
        self._rounding = rounding

    async def of(
        self, histories: Sequence[Histories], selection: Selection, where: str
    ) -> list[Top]:
        """The top k of each history (one row each), in order.

        Raises UnknownItem, naming `where` of the request, or UnknownGenre for what the catalogue
        lacks, and what the runners raise.
        """
        item_filter = self._filters.of(selection)
        named = known_items(selection.exclude, self._catalog, f"{where} exclude")
        seen_may_come = selection.include_seen
        jobs = [
            RankJob(
                history,
                named if seen_may_come else np.concatenate([named, history.items]),
                item_filter,
                selection.k,
            )
            for history in histories
        ]
        rankings = await self._ranker.submit(jobs)
        tops = []
        for history, best in zip(histories, rankings, strict=True):
            own = own_ratings(history) if seen_may_come else {}
            if any(item in own for item in best.items.tolist()):
                estimates = await self.rate(history, best.items)
                best = self._rated(best, estimates)
            tops.append(Top(basis_of(history), best, own))
        return tops

    def _rated(self, best: Ranking, estimates: Estimates) -> Ranking:
        ratings, spreads = estimates.ratings, estimates.spreads
        rows = self._rounding.of_rankings(best.scores, ratings, spreads)
        return Ranking(best.items, best.scores, ratings, spreads, rows)

    async def rate(self, history: Histories, items: NDArray[np.int64]) -> Estimates:
        """Estimates of items in order; of one already rated, as if it had not been."""
        rated = np.isin(items, history.items)
        rest = np.flatnonzero(~rated)
        jobs = [RateJob(history, items[rest])] if len(rest) else []
        left_out = np.flatnonzero(rated)
        jobs += [RateJob(without(history, items[t]), items[t : t + 1]) for t in left_out]
        answers = await self._rater.submit(jobs)
        order = np.argsort(np.concatenate([rest, left_out]))
        return Estimates(
            np.concatenate([answer.ratings for answer in answers])[order],
            np.concatenate([answer.spreads for answer in answers])[order],
            np.concatenate([answer.scores for answer in answers])[order],
        )


def basis_of(history: Histories) -> Basis:
    """What an answer rests on."""
    return "history" if len(history.items) else "cold_start"


def own_ratings(history: Histories) -> dict[int, float]:
    """The ratings of one history, by item index."""
    return dict(zip(history.items.tolist(), history.ratings.tolist(), strict=True))
