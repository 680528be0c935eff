"""What training tells of each item beside the catalogue: how often it was rated, what is like it.

Columnar like the catalogue and in its order. `training.neighbours` computes the neighbours; whoever
serves them only reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.columns import read_array, write_array

MAX_NEIGHBOURS = 100


@dataclass(frozen=True)
class ItemColumns:
    """Facts of I items; arrays may be memory-mapped.

    rating_counts: int32 [I], the ratings of each item that the weights were fitted on. neighbours:
    int32 [I, N], rows of the catalogue, nearest first, the item itself not among them. cosines:
    float32 [I, N], how near each is, at most 1 and descending. N = min(MAX_NEIGHBOURS, I - 1).
    """

    rating_counts: NDArray[np.int32]
    neighbours: NDArray[np.int32]
    cosines: NDArray[np.float32]

    def write(self, folder: Path) -> None:
        """Store the columns under `folder`."""
        write_array(folder / "rating_counts.npy", self.rating_counts.astype(np.int32))
        write_array(folder / "neighbours.npy", self.neighbours.astype(np.int32))
        write_array(folder / "cosines.npy", self.cosines.astype(np.float32))

    @staticmethod
    def read(folder: Path) -> ItemColumns:
        """Memory-map what `write` stored."""
        names = ("rating_counts", "neighbours", "cosines")
        return ItemColumns(**{name: read_array(folder / f"{name}.npy") for name in names})
