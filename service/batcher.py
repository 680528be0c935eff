"""The micro-batcher: callers hand in single jobs, a graph runs them together.

While one batch runs, the next gathers; nobody waits for a batch to fill, so an idle service
answers a lone caller at once and a busy one shares each run among many. Batches are bounded in
jobs and in weight (ratings), so a history of 10,000 rides nearly alone and delays others by one
run at most. The queue is bounded too: who would overflow it is refused at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.errors import Overloaded
from service.metrics import GraphMetrics

Job = TypeVar("Job")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much may run together, and how much may wait. Weights are in ratings."""

    batch_jobs: int = 32
    batch_weight: int = 32_768
    queue_jobs: int = 1024
    queue_weight: int = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[Job, Answer]):
    job: Job
    weight: int
    answer: asyncio.Future[Answer]


class MicroBatcher(Generic[Job, Answer]):
    """Runs jobs of one kind in batches on an executor, which batchers may share.

    `run` answers a batch in order, in the executor's thread; `weigh` says how heavy a job is.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Sequence[Answer]],
        weigh: Callable[[Job], int],
        executor: Executor,
        limits: BatchLimits,
        metrics: GraphMetrics,
    ) -> None:
        self._run = run
        self._weigh = weigh
        self._executor = executor
        self._limits = limits
        self._metrics = metrics
        self._queue: deque[_Waiting[Job, Answer]] = deque()
        self._weight = 0
        self._drainer: asyncio.Task[None] | None = None

    async def submit(self, jobs: Sequence[Job]) -> list[Answer]:
        """Answer jobs in order; they may run in different batches.

        A cancelled caller's jobs are not run if they still wait. Raises Overloaded if the queue
        has no room for all of them, unless it is empty: what one request may ask always fits.
        """
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(job, self._weigh(job), loop.create_future()) for job in jobs]
        self._admit(waiting)
        if self._drainer is None:
            self._drainer = loop.create_task(self._drain())
        if len(waiting) == 1:
            return [await waiting[0].answer]
        return list(await asyncio.gather(*(entry.answer for entry in waiting)))

    def _admit(self, waiting: Sequence[_Waiting[Job, Answer]]) -> None:
        weight = sum(entry.weight for entry in waiting)
        too_many = len(self._queue) + len(waiting) > self._limits.queue_jobs
        if self._queue and (too_many or self._weight + weight > self._limits.queue_weight):
            self._metrics.refused.inc()
            raise Overloaded("Too many requests are waiting for the model; try again shortly.")
        self._queue.extend(waiting)
        self._weight += weight
        self._metrics.waiting.set(len(self._queue))

    async def _drain(self) -> None:
        try:
            while batch := self._next_batch():
                await self._answer(batch)
        finally:
            self._drainer = None

    def _next_batch(self) -> list[_Waiting[Job, Answer]]:
        """The oldest jobs somebody still waits for, within the limits; at least one if any."""
        batch: list[_Waiting[Job, Answer]] = []
        weight = 0
        while self._queue and len(batch) < self._limits.batch_jobs:
            entry = self._queue[0]
            if batch and weight + entry.weight > self._limits.batch_weight:
                break
            self._queue.popleft()
            self._weight -= entry.weight
            if not entry.answer.done():
                batch.append(entry)
                weight += entry.weight
        self._metrics.waiting.set(len(self._queue))
        return batch

    async def _answer(self, batch: Sequence[_Waiting[Job, Answer]]) -> None:
        """Run a batch; should it fail, run its jobs one by one, so that one cannot harm others."""
        loop = asyncio.get_running_loop()
        self._metrics.batch.observe(len(batch))
        try:
            jobs = [entry.job for entry in batch]
            answers = await loop.run_in_executor(self._executor, self._run, jobs)
        except Exception as error:  # whatever it is, the callers it belongs to must hear of it
            if len(batch) == 1:
                _fail(batch[0].answer, error)
                return
            for entry in batch:
                await self._answer([entry])
            return
        for entry, answer in zip(batch, answers, strict=True):
            if not entry.answer.done():
                entry.answer.set_result(answer)


def _fail(answer: asyncio.Future[Answer], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
