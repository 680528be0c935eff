"""The official folds of MovieLens 100K, as row numbers of u.data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.errors import DataError, ProtocolError
from training.ratings import Ratings
from training.sources.assembly import packed_pairs
from training.sources.delimited import RatingTable, read_delimited
from training.sources.location import release_folder
from training.sources.movielens import TAB
from training.sources.releases import RELEASES
from training.sources.settings import SourceSettings

Rows = NDArray[np.int64]


def official_split(
    name: Literal["u1", "u2"], ratings: Ratings, settings: SourceSettings
) -> tuple[Rows, Rows]:
    """Rows of `<name>.base` and of `<name>.test`, ascending; together every row, once each.

    Raises ProtocolError unless `ratings` are those of ml-100k, DataError if a fold's file is
    absent or names a rating that u.data does not hold.
    """
    release = RELEASES["ml-100k"]
    if ratings.origin.source != release.name:
        raise ProtocolError(
            f"The official split {name} belongs to ml-100k and the data is "
            f"{ratings.origin.source}; train on ml-100k or choose another protocol."
        )
    folder = release_folder(release, settings)
    train = _rows_of(read_delimited(folder / f"{name}.base", TAB), ratings)
    test = _rows_of(read_delimited(folder / f"{name}.test", TAB), ratings)
    if not np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(ratings))):
        raise DataError(
            f"{folder}/{name}.base and {name}.test do not make up u.data; unpack the archive again."
        )
    return train, test


def _rows_of(table: RatingTable, ratings: Ratings) -> Rows:
    """Match each (user, item) pair of the table to its row of `ratings`."""
    wanted = packed_pairs(
        _indices(table.frame["user"], ratings.user_ids.astype(str).tolist()),
        _indices(table.frame["item"], ratings.catalog.ids),
    )
    pairs = packed_pairs(ratings.users, ratings.items)
    order = np.argsort(pairs)
    found = order[np.searchsorted(pairs[order], wanted).clip(max=len(order) - 1)]
    if len(missing := np.flatnonzero(pairs[found] != wanted)):
        raise DataError(
            f"{table.place(int(missing[0]))}: u.data does not hold this rating; unpack the "
            "archive again."
        )
    return np.sort(found).astype(np.int64)


def _indices(column: pl.Series, ids: Sequence[str]) -> NDArray[np.int32]:
    """Positions in `ids`; those absent get the position after the last, which no pair has."""
    known = pl.DataFrame({"id": ids, "index": np.arange(len(ids), dtype=np.int32)})
    joined = pl.DataFrame({"id": column.cast(pl.String)}).join(
        known, on="id", how="left", maintain_order="left"
    )
    return joined["index"].fill_null(len(ids)).to_numpy()
