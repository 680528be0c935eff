"""Side information on its way to a peer: groups of categories, in a file beside the task.

Like exchange.py this imports nothing but numpy. A group is a set of 0/1 columns that share a prior;
what the columns stand for is known to training.peers.side_information alone.

Shapes: U users, I items, N rows to fit on, T asked pairs of a question, E ones of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = "side.npz"


@dataclass(frozen=True)
class Group:
    """`width` columns over `height` rows, 1 at (rows[e], columns[e]), both int64 [E], else 0."""

    height: int
    width: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


Groups = tuple[Group, ...]


@dataclass(frozen=True)
class SideInformation:
    """Groups over the U users, over the I items, over the N rows, over each question's T pairs.

    The groups of every question are those of the rows: as many, as wide.
    """

    users: Groups
    items: Groups
    rows: Groups
    pairs: tuple[Groups, ...]

    @property
    def places(self) -> tuple[Groups, ...]:
        """All groups, by what they are over."""
        return (self.users, self.items, self.rows, *self.pairs)


def write_side(folder: Path, side: SideInformation) -> None:
    """Write side.npz."""
    arrays: dict[str, NDArray[Any]] = {
        "counts": np.array([len(groups) for groups in side.places], np.int64)
    }
    for place, groups in enumerate(side.places):
        for number, group in enumerate(groups):
            shape = np.array([group.height, group.width], np.int64)
            named = {"shape": shape, "rows": group.rows, "columns": group.columns}
            arrays |= {f"{place}.{number}.{name}": array for name, array in named.items()}
    np.savez(folder / SIDE, allow_pickle=False, **arrays)


def read_side(folder: Path) -> SideInformation:
    """Read what `write_side` wrote."""
    with np.load(folder / SIDE, allow_pickle=False) as arrays:
        users, items, rows, *pairs = (
            tuple(_group(arrays, f"{place}.{number}") for number in range(count))
            for place, count in enumerate(arrays["counts"].tolist())
        )
    return SideInformation(users, items, rows, tuple(pairs))


def _group(arrays: Any, name: str) -> Group:
    height, width = arrays[f"{name}.shape"].tolist()
    return Group(height, width, arrays[f"{name}.rows"], arrays[f"{name}.columns"])
