"""Computes recommendations for many users: histories read, ranked and noted, batch after batch.

Each lane reads the histories of one batch, then waits for a thread to run the graph; there is a
lane more than threads, so that the graphs do not wait for histories.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.histories import Histories
from service.batch.direct_runner import DirectRunner
from service.batch.rows import Rows
from service.batch.warming import Warming
from service.batcher import BatchLimits
from service.engine import Engine, RankJob, RateJob
from service.filters import Filters
from service.histories import BUNDLE_VERSION, KnownHistories, Stamp
from service.rounding import Rounding
from service.schemas import Selection
from service.top_items import Top, TopItems


class Computation:
    """Answers one selection for users of one bundle; graphs run on `threads` of `executor`."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        histories: KnownHistories,
        selection: Selection,
        limits: BatchLimits,
        executor: Executor,
        threads: int,
        warming: Warming | None,
    ) -> None:
        ranker = DirectRunner(engine.rank, RankJob.weigh, executor, limits)
        rater = DirectRunner(engine.rate, RateJob.weigh, executor, limits)
        self._top_items = TopItems(
            bundle.catalog, Filters(bundle.catalog), ranker, rater, Rounding(bundle.manifest)
        )
        self._histories = histories
        self._selection = selection
        self._batch_users = limits.batch_jobs
        self._lanes = threads + 1
        self._warming = warming

    async def begin(self) -> None:
        """Run once for whom nobody knows, which is an answer to keep as well.

        Raises UnknownItem, UnknownGenre for what the catalogue lacks.
        """
        tops = await self._tops([Histories.empty(1)])
        if self._warming is not None:
            await self._warming.keep([Stamp(None, BUNDLE_VERSION)], tops)

    async def rows_of(self, users: NDArray[np.bytes_], tell: Callable[[int], None]) -> Rows:
        """The rows of some users; `tell` hears of users done. Raises RatingsUnavailable."""
        rows = Rows.blank(len(users), self._selection.k)
        starts = iter(range(0, len(users), self._batch_users))
        lanes = [
            asyncio.create_task(self._lane(users, starts, rows, tell)) for _ in range(self._lanes)
        ]
        try:
            await asyncio.gather(*lanes)
        finally:  # none goes on reading once another has failed
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
        return rows

    async def _lane(
        self,
        users: NDArray[np.bytes_],
        starts: Iterator[int],
        rows: Rows,
        tell: Callable[[int], None],
    ) -> None:
        for start in starts:
            batch = users[start : start + self._batch_users].astype("U").tolist()
            read = await self._histories.read_many(batch)
            tops = await self._tops([history for _, history in read])
            rows.fill(start, tops)
            if self._warming is not None:
                await self._warming.keep([stamp for stamp, _ in read], tops)
            tell(len(batch))

    async def _tops(self, histories: list[Histories]) -> list[Top]:
        return await self._top_items.of(histories, self._selection, "option")
