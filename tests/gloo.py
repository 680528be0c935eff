"""Two real processes that compute something together over gloo, for tests of what they agree on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from training.world import Ranks, World

SIZE = 2


def in_two(compute: Callable[[World], Any], folder: Path) -> list[Any]:
    """What `compute`, a function of a module, returns in each of two processes."""
    multiprocessing.spawn(_process, (compute, folder), nprocs=SIZE)
    return [torch.load(_answer(folder, rank), weights_only=False) for rank in range(SIZE)]


def _process(rank: int, compute: Callable[[World], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(str(folder / "store"), SIZE)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=SIZE)
    torch.save(compute(Ranks(rank, SIZE)), _answer(folder, rank))
    distributed.destroy_process_group()


def _answer(folder: Path, rank: int) -> Path:
    return folder / f"answer-{rank}.pt"
