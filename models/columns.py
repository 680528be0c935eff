"""Arrays and strings on disk as plain `.npy` columns: memory-mappable, never pickled."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_array(path: Path, values: NDArray[Any]) -> None:
    """Store one array; object arrays are refused (ValueError), so nothing is ever pickled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.ascontiguousarray(values), allow_pickle=False)


def read_array(path: Path) -> NDArray[Any]:
    """Memory-map one array, read-only: workers of one machine share its pages."""
    values: NDArray[Any]
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:  # an array without elements has nothing to map
        values = np.load(path, allow_pickle=False)
    return values


def write_strings(folder: Path, name: str, values: Sequence[str]) -> None:
    """Store strings as one UTF-8 run (uint8) and the int64 offsets of each string in it."""
    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    write_array(folder / f"{name}.utf8.npy", np.frombuffer(b"".join(encoded), np.uint8))
    write_array(folder / f"{name}.offsets.npy", offsets)


def read_strings(folder: Path, name: str) -> list[str]:
    """Read what `write_strings` stored."""
    run = np.load(folder / f"{name}.utf8.npy", allow_pickle=False).tobytes()
    offsets = np.load(folder / f"{name}.offsets.npy", allow_pickle=False).tolist()
    return [run[a:b].decode() for a, b in itertools.pairwise(offsets)]
