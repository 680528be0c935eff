"""How fitting uses the cores: one thread for small steps, batches made ahead and unchanged."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from typing import cast

import pytest
import torch
from torch.utils.data import IterableDataset

from training.fitting.cores import MAKER, PAIRS_WORTH_SHARING, Ahead, threads_for


class Numbers(IterableDataset[int]):
    """Counts to `last`, and says which thread made each number and how far it has come."""

    def __init__(self, last: int, fails_at: int | None = None) -> None:
        self.last = last
        self.fails_at = fails_at
        self.made: list[int] = []
        self.makers: set[int] = set()

    def __len__(self) -> int:
        return self.last

    def __iter__(self) -> Iterator[int]:
        for number in range(self.last):
            if number == self.fails_at:
                raise ValueError(f"number {number}")
            self.made.append(number)
            self.makers.add(threading.get_ident())
            yield number


def test_batches_come_in_order_and_from_another_thread() -> None:
    numbers = Numbers(5)
    assert len(Ahead(numbers)) == 5
    assert list(Ahead(numbers)) == [0, 1, 2, 3, 4]
    assert list(Ahead(numbers)) == [0, 1, 2, 3, 4]
    assert threading.get_ident() not in numbers.makers
    assert list(Ahead(Numbers(0))) == []


def test_no_more_than_one_batch_is_made_ahead_and_none_once_it_is_left() -> None:
    numbers = Numbers(100)
    batches = cast(Generator[int, None, None], iter(Ahead(numbers)))
    assert [next(batches), next(batches)] == [0, 1]
    batches.close()
    assert numbers.made in ([0, 1, 2], [0, 1, 2, 3])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(MAKER)]


def test_an_error_of_the_maker_reaches_the_learner() -> None:
    batches = iter(Ahead(Numbers(5, fails_at=2)))
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(ValueError, match="number 2"):
        next(batches)


def test_small_steps_have_one_thread_and_large_ones_as_many_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_for(64, 3_706):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with threads_for(1, PAIRS_WORTH_SHARING):
            assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError), threads_for(64, 3_706):
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
