"""Runs jobs of a graph at once, in batches as the service's micro-batcher would cut them.

Nothing gathers here: callers hand in whole batches, as many callers at a time as there are threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from service.batcher import BatchLimits

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class DirectRunner(Generic[Job, Answer]):
    """`run` answers a batch in order, in one of the executor's threads; `weigh` is in ratings."""

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Sequence[Answer]],
        weigh: Callable[[Job], int],
        executor: Executor,
        limits: BatchLimits,
    ) -> None:
        self._run = run
        self._weigh = weigh
        self._executor = executor
        self._limits = limits

    async def submit(self, jobs: Sequence[Job]) -> list[Answer]:
        """Answer jobs in order, one batch after the other."""
        loop = asyncio.get_running_loop()
        answers: list[Answer] = []
        for batch in self._batches(jobs):
            answers += await loop.run_in_executor(self._executor, self._run, batch)
        return answers

    def _batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Within the limits; a job that is beyond them alone goes alone."""
        batch: list[Job] = []
        weight = 0
        for job in jobs:
            heavy = weight + self._weigh(job) > self._limits.batch_weight
            if batch and (heavy or len(batch) == self._limits.batch_jobs):
                yield batch
                batch, weight = [], 0
            batch.append(job)
            weight += self._weigh(job)
        if batch:
            yield batch
