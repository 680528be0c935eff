"""The micro-batcher: whoever shares a batch, everybody gets the answer they would get alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from models.bundle import Bundle
from models.histories import Histories
from service.batcher import BatchLimits, MicroBatcher
from service.engine import Engine, Ranking, RankJob
from service.errors import Overloaded
from service.filters import Filters
from service.metrics import Metrics
from service.schemas import Selection


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Press:
    """Doubles numbers in batches, records the batches, and can be held shut."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def run(self, jobs: Sequence[int]) -> list[int]:
        self.entered.set()
        assert self.open.wait(30)
        self.batches.append(list(jobs))
        if 13 in jobs:
            raise ValueError("13 brings bad luck")
        return [2 * job for job in jobs]


def batcher_of(
    press: Press, executor: ThreadPoolExecutor, limits: BatchLimits | None = None
) -> MicroBatcher[int, int]:
    metrics = Metrics(CollectorRegistry()).of_graph("test")
    return MicroBatcher(press.run, lambda job: job, executor, limits or BatchLimits(), metrics)


async def held(press: Press, batcher: MicroBatcher[int, int]) -> asyncio.Task[list[int]]:
    """A first caller whose batch is running and will not end before the press opens."""
    press.open.clear()
    first = asyncio.create_task(batcher.submit([0]))
    await asyncio.to_thread(press.entered.wait, 30)
    return first


async def all_waiting(tasks: Sequence[asyncio.Task[list[int]]]) -> None:
    """Let every task reach the queue: each needs one turn of the loop."""
    for _ in tasks:
        await asyncio.sleep(0)


def test_callers_who_wait_share_the_next_batch(executor: ThreadPoolExecutor) -> None:
    async def scene() -> None:
        press = Press()
        batcher = batcher_of(press, executor)
        first = await held(press, batcher)
        others = [asyncio.create_task(batcher.submit([n, 10 * n])) for n in (1, 2, 3)]
        await all_waiting(others)
        press.open.set()
        assert await first == [0]
        assert await asyncio.gather(*others) == [[2, 20], [4, 40], [6, 60]]
        assert press.batches == [[0], [1, 10, 2, 20, 3, 30]]

    asyncio.run(scene())


def test_a_batch_is_bounded_in_jobs_and_in_weight(executor: ThreadPoolExecutor) -> None:
    async def scene() -> None:
        press = Press()
        batcher = batcher_of(press, executor, BatchLimits(batch_jobs=3, batch_weight=100))
        assert await batcher.submit([1, 2, 3, 4, 90, 99, 10_000, 5]) == [
            2, 4, 6, 8, 180, 198, 20_000, 10,
        ]  # fmt: skip
        assert press.batches == [[1, 2, 3], [4, 90], [99], [10_000], [5]]

    asyncio.run(scene())


def test_cancelled_callers_are_dropped_and_the_rest_answered(executor: ThreadPoolExecutor) -> None:
    async def scene() -> None:
        press = Press()
        batcher = batcher_of(press, executor)
        first = await held(press, batcher)
        leaving = [asyncio.create_task(batcher.submit([n, n])) for n in (1, 2)]
        staying = asyncio.create_task(batcher.submit([3]))
        await all_waiting([*leaving, staying])
        for task in (first, *leaving):  # one whose batch runs already, two who wait
            task.cancel()
        await asyncio.gather(first, *leaving, return_exceptions=True)
        press.open.set()
        assert await staying == [6]
        assert press.batches == [[0], [3]]
        assert await batcher.submit([4]) == [8]

    asyncio.run(scene())


def test_a_job_that_fails_harms_no_other(executor: ThreadPoolExecutor) -> None:
    async def scene() -> None:
        press = Press()
        batcher = batcher_of(press, executor)
        first = await held(press, batcher)
        tasks = [asyncio.create_task(batcher.submit([n])) for n in (1, 13, 2)]
        await all_waiting(tasks)
        press.open.set()
        await first
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes[0] == [2]
        assert isinstance(outcomes[1], ValueError)
        assert outcomes[2] == [4]

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("limits", "waiting"),
    [(BatchLimits(queue_jobs=3), [1, 1, 1]), (BatchLimits(queue_weight=50), [25, 25])],
    ids=["jobs", "weight"],
)
def test_a_full_queue_refuses_at_once(
    executor: ThreadPoolExecutor, limits: BatchLimits, waiting: list[int]
) -> None:
    async def scene() -> None:
        press = Press()
        batcher = batcher_of(press, executor, limits)
        first = await held(press, batcher)
        tasks = [asyncio.create_task(batcher.submit([job])) for job in waiting]
        await all_waiting(tasks)
        with pytest.raises(Overloaded) as refusal:
            await batcher.submit([1])
        assert refusal.value.headers == {"Retry-After": "1"}
        press.open.set()
        await asyncio.gather(first, *tasks)
        assert await batcher.submit([1]) == [2]

    asyncio.run(scene())


def test_what_one_caller_may_ask_fits_an_empty_queue(executor: ThreadPoolExecutor) -> None:
    async def scene() -> None:
        batcher = batcher_of(Press(), executor, BatchLimits(queue_jobs=2, queue_weight=1))
        assert await batcher.submit([5, 6, 7]) == [10, 12, 14]

    asyncio.run(scene())


SELECTIONS = [
    Selection(),
    Selection(genre=("Drama",)),
    Selection(year_min=1990, year_max=2005),
    Selection(year_min=9000),
]
ASKED = st.tuples(
    st.one_of(st.none(), st.integers(0, 59)),
    st.sampled_from(SELECTIONS),
    st.lists(st.integers(0, 119), max_size=5, unique=True),
)


@pytest.fixture(scope="module")
def answer(bundle: Bundle) -> Callable[[Sequence[RankJob]], list[Ranking]]:
    return Engine(bundle).rank


@settings(max_examples=30)
@given(asked=st.lists(ASKED, min_size=1, max_size=40), batch_jobs=st.integers(1, 64))
def test_any_concurrent_requests_get_the_answers_of_one_by_one(
    bundle: Bundle,
    answer: Callable[[Sequence[RankJob]], list[Ranking]],
    asked: list[tuple[int | None, Selection, list[int]]],
    batch_jobs: int,
) -> None:
    filters = Filters(bundle.catalog)
    jobs = [
        RankJob(
            Histories.empty(1) if row is None else bundle.users.histories.take([row]),
            np.array(excluded, np.int64),
            filters.of(selection),
            100,
        )
        for row, selection, excluded in asked
    ]

    async def together() -> list[Ranking]:
        metrics = Metrics(CollectorRegistry()).of_graph("recommend")
        with ThreadPoolExecutor(1) as executor:
            batcher = MicroBatcher(
                answer, RankJob.weigh, executor, BatchLimits(batch_jobs=batch_jobs), metrics
            )
            answers = await asyncio.gather(*(batcher.submit([job]) for job in jobs))
        return [ranking for (ranking,) in answers]

    for job, shared in zip(jobs, asyncio.run(together()), strict=True):
        (alone,) = answer([job])
        assert_same_ranking(shared, alone)


def assert_same_ranking(one: Ranking, other: Ranking) -> None:
    """Equal within 0.001, in the same order unless scores are within 1e-5 of each other."""
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)
    assert set(one.items.tolist()) == set(other.items.tolist())
    place = {item: n for n, item in enumerate(other.items.tolist())}
    moved = [place[item] for item in one.items.tolist()]
    np.testing.assert_allclose(one.scores, other.scores[moved], atol=1e-5)
    np.testing.assert_allclose(one.ratings, other.ratings[moved], atol=1e-3)
    np.testing.assert_allclose(one.spreads, other.spreads[moved], atol=1e-3)
