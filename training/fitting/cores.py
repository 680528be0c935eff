"""How fitting uses the cores: steps on one thread, the next batch made on another.

A step on MovieLens 1M is some hundred small operations. Shared by two threads each waits for the
other more than it gains: 24 ms a step with one thread, 38 with two (best.yaml, two cores). Only
where a batch scores millions of pairs is the sharing worth it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
from torch.utils.data import IterableDataset

T = TypeVar("T")

PAIRS_WORTH_SHARING = 2_000_000
MAKER = "batches"  # what the thread that makes them is called


@contextmanager
def threads_for(users: int, items: int) -> Iterator[None]:
    """One torch thread inside, where batches of `users` x `items` pairs are not worth more."""
    before = torch.get_num_threads()
    if users * items < PAIRS_WORTH_SHARING:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Ahead(IterableDataset[T]):
    """The same batches in the same order, each made while the one before is learnt from."""

    def __init__(self, batches: IterableDataset[T]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(cast(Sized, self.batches))

    def __iter__(self) -> Iterator[T]:
        with ThreadPoolExecutor(1, MAKER, torch.set_num_threads, (1,)) as maker:
            batches = iter(self.batches)
            made = maker.submit(next, batches, None)
            while (batch := made.result()) is not None:
                made = maker.submit(next, batches, None)
                yield batch
