"""The item catalogue: what an item index of the graphs is called, and what it is about.

Columnar, one row per item; the row number is the item index that training, the ONNX graphs and
the service use. Ids are opaque strings. Unknown years are 0; an item may have no genre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.columns import read_array, read_strings, write_array, write_strings


@dataclass(frozen=True)
class Catalog:
    """I items and their attributes.

    ids and titles: I strings, ids unique. years: int16 [I], 0 where unknown. genre_names: G
    strings. genres: bool [I, G].
    """

    ids: Sequence[str]
    titles: Sequence[str]
    years: NDArray[np.int16]
    genre_names: Sequence[str]
    genres: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def index_by_id(self) -> dict[str, int]:
        """Item index of each id."""
        return {item_id: index for index, item_id in enumerate(self.ids)}

    def genres_of(self, index: int) -> list[str]:
        """Names of one item's genres, in the catalogue's order."""
        return [self.genre_names[g] for g in np.flatnonzero(self.genres[index]).tolist()]

    def write(self, folder: Path) -> None:
        """Store the columns under `folder`."""
        write_strings(folder, "ids", self.ids)
        write_strings(folder, "titles", self.titles)
        write_strings(folder, "genre_names", self.genre_names)
        write_array(folder / "years.npy", self.years.astype(np.int16))
        write_array(folder / "genres.npy", self.genres.astype(np.bool_))

    @staticmethod
    def read(folder: Path) -> Catalog:
        """Read what `write` stored."""
        return Catalog(
            ids=list(read_strings(folder, "ids")),
            titles=read_strings(folder, "titles"),
            years=read_array(folder / "years.npy"),
            genre_names=list(read_strings(folder, "genre_names")),
            genres=read_array(folder / "genres.npy"),
        )
