"""What a batch is made of: cutting jobs, telling how far it is, naming users."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import Bundle
from models.histories import Histories
from service.batch.direct_runner import DirectRunner
from service.batch.progress import Progress
from service.batch.rows import Rows
from service.batch.users import digest_of, newcomers, with_newcomers
from service.batcher import BatchLimits
from service.engine import Ranking
from service.histories import BundleHistories
from service.top_items import Top

LIMITS = BatchLimits(batch_jobs=4, batch_weight=10)


@given(st.lists(st.integers(1, 15), max_size=40))
def test_jobs_are_cut_within_limits_and_answered_in_order(weights: list[int]) -> None:
    ran: list[list[int]] = []

    def run(batch: Sequence[int]) -> list[int]:
        ran.append(list(batch))
        return [-weight for weight in batch]

    with ThreadPoolExecutor(1) as executor:
        runner = DirectRunner(run, int, executor, LIMITS)
        answers = asyncio.run(runner.submit(weights))
    assert answers == [-weight for weight in weights]
    assert [weight for batch in ran for weight in batch] == weights
    for batch, following in zip(ran, [*ran[1:], [0]], strict=False):
        assert len(batch) <= 4
        assert len(batch) == 1 or sum(batch) <= 10
        # A batch ends because the next job would not have fitted in, or there is none.
        assert following == [0] or len(batch) == 4 or sum(batch) + following[0] > 10


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_now_and_then_and_a_terminal_one_that_moves() -> None:
    said = {}
    for stream in (io.StringIO(), Terminal()):
        now = iter([0.0, 100.0, *(100.0 + second for second in range(1, 21))])
        progress = Progress(stream, now.__next__)
        progress.begin(4000)
        for _ in range(20):
            progress.add(100)
        progress.end()
        said[stream.isatty()] = stream.getvalue()
    assert said[False] == (
        "1,000 of 4,000 users, 100 a second, 0:30 to go\n"
        "2,000 of 4,000 users, 100 a second, 0:20 to go\n"
    )
    assert said[True].count("\r\x1b[K") == 21
    assert said[True].endswith("\r\x1b[K2,000 of 4,000 users, 100 a second, 0:20 to go\r\x1b[K")


def test_users_are_everybody_once_in_order() -> None:
    known = np.array([b"1", b"10", b"2"], "S2")
    others = newcomers(known, {"10", "a-long-id", "15"})
    assert others.tolist() == [b"15", b"a-long-id"]
    assert with_newcomers(known, others).tolist() == [b"1", b"10", b"15", b"2", b"a-long-id"]
    assert with_newcomers(known, newcomers(known, ())) is known
    wider = known.astype("S40")
    assert digest_of(wider) == digest_of(known) != digest_of(with_newcomers(known, others))


def test_rows_hold_what_there_is_and_nothing_of_users_with_fewer() -> None:
    def top(*items: int) -> Top:
        numbers = np.array(items, np.float32)
        rows = np.zeros((4, len(items)))
        ranking = Ranking(np.array(items, np.int64), numbers, numbers + 1, numbers + 2, rows)
        return Top("history" if items else "cold_start", ranking, {7: 3.5} if 7 in items else {})

    rows = Rows.blank(4, 3)
    rows.fill(1, [top(5, 7), top(), top(1, 2, 3)])
    assert rows.filled.tolist() == [
        [False] * 3, [True, True, False], [False] * 3, [True] * 3
    ]  # fmt: skip
    assert rows.items[rows.filled].tolist() == [5, 7, 1, 2, 3]
    assert rows.spreads[rows.filled].tolist() == [7, 9, 3, 4, 5]
    np.testing.assert_array_equal(rows.own[1, :2], [np.nan, 3.5])
    record = rows.record("part")
    assert (record.users, record.rows, record.cold_start_users, record.short_users) == (4, 5, 1, 3)


def test_histories_of_many_are_those_of_each(bundle: Bundle) -> None:
    source = BundleHistories(bundle.users)
    asked = ["3", "nobody", "1"]
    for (stamp, history), user in zip(asyncio.run(source.read_many(asked)), asked, strict=True):
        alone_stamp, alone = asyncio.run(source.read(user))
        assert stamp == alone_stamp
        np.testing.assert_array_equal(history.items, alone.items)
    assert isinstance(history, Histories)
    with pytest.raises(StopIteration):
        next(iter(asyncio.run(source.read_many([]))))
