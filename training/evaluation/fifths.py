"""Scored rows by whom they belong to: the fifths of the users or of the items, by size.

Users (items) with a scored row in order of size, as many in each fifth as can be, so the rows of a
fifth may be few. Shapes: T scored rows, W users or items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PARTS = 5


@dataclass(frozen=True)
class Fifth:
    """Those of `smallest` to `largest` ratings each; rows: bool [T], which rows are theirs."""

    smallest: int
    largest: int
    rows: NDArray[np.bool_]


def fifths(of_row_T: NDArray[Any], sizes_W: NDArray[Any]) -> Iterator[Fifth]:
    """The fifths of whoever the rows belong to; one that nobody is in is left out."""
    present = np.unique(of_row_T)
    ascending = present[np.argsort(sizes_W[present], kind="stable")]
    fifth_W = np.zeros(len(sizes_W), np.int8)
    for number, members in enumerate(np.array_split(ascending, PARTS), start=1):
        fifth_W[members] = number
        if len(members):
            rows_T = fifth_W[of_row_T] == number
            yield Fifth(int(sizes_W[members[0]]), int(sizes_W[members[-1]]), rows_T)
