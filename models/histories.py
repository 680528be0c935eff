"""Histories in the flat layout every room shares: no padding, one offsets array.

A batch of B users holds N ratings in two columns, `items` and `ratings`; user b owns the entries
`offsets[b]:offsets[b + 1]`. The ONNX graphs take exactly these three arrays, training slices them
and the bundle stores them, so a history means the same thing from the ratings file to the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Histories:
    """The rated items of B users.

    items: integer [N], row numbers of the catalogue. ratings: float32 [N], on the data's scale.
    offsets: int64 [B + 1], starting at 0 and ending at N. Arrays may be memory-mapped.
    """

    items: NDArray[Any]
    ratings: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 [B]: how many ratings each user has."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """int64 [N]: which of the B users each rating belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def of(self, row: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The items and ratings of one user (views, not copies)."""
        start, end = self.offsets[row], self.offsets[row + 1]
        return self.items[start:end], self.ratings[start:end]

    def take(self, rows: NDArray[np.int64] | Sequence[int]) -> Histories:
        """The histories of the given users, in the given order; a user may come twice."""
        entries, offsets = flat_entries(self.offsets, np.asarray(rows, dtype=np.int64))
        return Histories(
            self.items[entries].astype(np.int64), self.ratings[entries].astype(np.float32), offsets
        )

    @staticmethod
    def empty(count: int) -> Histories:
        """`count` users who have rated nothing."""
        return Histories(
            np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(count + 1, np.int64)
        )

    @staticmethod
    def from_columns(
        users: NDArray[Any], items: NDArray[Any], ratings: NDArray[Any], count: int
    ) -> Histories:
        """Group rating columns in any order by user, sorted by item within a user.

        users: integer [N] in 0..count-1. Memory is O(N).
        """
        order = np.lexsort((items, users))
        offsets = np.zeros(count + 1, np.int64)
        np.cumsum(np.bincount(users, minlength=count), out=offsets[1:])
        return Histories(
            np.asarray(items)[order].astype(np.int64),
            np.asarray(ratings)[order].astype(np.float32),
            offsets,
        )

    @staticmethod
    def concatenate(parts: Sequence[Histories]) -> Histories:
        """Several batches as one, in order."""
        if not parts:
            return Histories.empty(0)
        lengths = np.concatenate([part.lengths for part in parts])
        return Histories(
            np.concatenate([part.items for part in parts]).astype(np.int64),
            np.concatenate([part.ratings for part in parts]).astype(np.float32),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        )


def flat_entries(
    offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the entries of `rows` lie, and the offsets they have once gathered.

    Returns (entries int64 [n], new offsets int64 [len(rows) + 1]).
    """
    lengths = offsets[rows + 1] - offsets[rows]
    new_offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=new_offsets[1:])
    shifts = np.repeat(offsets[rows] - new_offsets[:-1], lengths)
    return np.arange(new_offsets[-1], dtype=np.int64) + shifts, new_offsets
