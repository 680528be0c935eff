"""Arrays and strings on disk as plain `.npy` columns: memory-mappable, never pickled."""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

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
    return np.asarray(values)  # a plain view: memmap's own indexing costs microseconds


class ColumnFile:
    """One stored array [N], read in pieces.

    What is read passes through the kernel's cache, which all processes share, and never counts as
    a process's memory; of a mapped column every page that was touched does.
    """

    def __init__(self, path: Path) -> None:
        """Raises ValueError if it is no array of one dimension."""
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"{path} is written in version {version} of .npy, not in 1.0.")
            shape, _, self._dtype = np.lib.format.read_array_header_1_0(file)
            if len(shape) != 1:
                raise ValueError(f"{path} holds an array of {len(shape)} dimensions, not of one.")
            self._begins, self._length = file.tell(), int(shape[0])
            self._descriptor = os.dup(file.fileno())
        self._path = path
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, start: int, end: int) -> NDArray[Any]:
        """The values at start..end - 1. Raises IndexError beyond them, OSError if cut short."""
        if not 0 <= start <= end <= self._length:
            raise IndexError(f"{start}:{end} is not within the {self._length} values there are.")
        wanted = (end - start) * self._dtype.itemsize
        place = self._begins + start * self._dtype.itemsize
        content = os.pread(self._descriptor, wanted, place)
        if len(content) != wanted:
            raise OSError(f"{self._path} was cut short while it was in use.")
        return np.frombuffer(content, self._dtype)


def write_strings(folder: Path, name: str, values: Sequence[str]) -> None:
    """Store strings as one UTF-8 run (uint8) and the int64 offsets of each string in it."""
    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    write_array(folder / f"{name}.utf8.npy", np.frombuffer(b"".join(encoded), np.uint8))
    write_array(folder / f"{name}.offsets.npy", offsets)


PIECE = 4096
"""Strings read at once: memory that a process once had for all of them it rarely gives back."""


class Strings(Sequence[str]):
    """N strings that stay in their file until one is asked for: as a list they weigh ten times."""

    def __init__(self, run: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        """run: their UTF-8, one after the other; offsets: int64 [N + 1], where each begins."""
        self._run = run
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return list(self)[index]
        row = range(len(self))[index]  # counts from the end too, and raises IndexError beyond it
        start, end = self._offsets[row : row + 2].tolist()
        return self._run[start:end].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), PIECE):
            offsets = self._offsets[first : first + PIECE + 1]
            run = self._run[offsets[0] : offsets[-1]].tobytes()
            for start, end in itertools.pairwise((offsets - offsets[0]).tolist()):
                yield run[start:end].decode()


def read_strings(folder: Path, name: str) -> Strings:
    """Map what `write_strings` stored."""
    return Strings(
        read_array(folder / f"{name}.utf8.npy"), read_array(folder / f"{name}.offsets.npy")
    )
