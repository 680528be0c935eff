"""Parts as Parquet: one row a recommendation, by user, then rank, with the API's very numbers.

    user_id, rank              text, 1 to k
    item_id, title             text
    preference_score           float32
    predicted_rating           float32, on the data's scale; low and high are its interval
    low, high                  float32
    rating                     float32, the user's own; null unless items already rated may come
    basis                      "history" or "cold_start"

This is the only file that needs polars, which the service itself does without.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.bundle import Bundle
from service.batch.rows import Rows
from service.rounding import DECIMALS, Rounding, to_places

BASES = pl.Series(["history", "cold_start"])


class ParquetWriter:
    """Writes the rows of one bundle's answers."""

    def __init__(self, bundle: Bundle) -> None:
        self._ids = pl.Series(bundle.catalog.ids, dtype=pl.String)
        self._titles = pl.Series(bundle.catalog.titles, dtype=pl.String)
        self._rounding = Rounding(bundle.manifest)

    def part(self, users: NDArray[np.bytes_], rows: Rows, metadata: Mapping[str, str]) -> bytes:
        """A whole file of the recommendations of `users`. Raises as `to_places`."""
        content = BytesIO()
        frame = self._frame(users, rows)
        frame.write_parquet(content, compression="zstd", metadata=dict(metadata))
        return content.getvalue()

    def _frame(self, users: NDArray[np.bytes_], rows: Rows) -> pl.DataFrame:
        filled = rows.filled
        row, place = np.nonzero(filled)
        items = rows.items[filled]
        ratings = rows.ratings[filled]
        own = rows.own[filled].astype(np.float64).round(DECIMALS)
        lows, highs = self._rounding.ends(ratings, rows.spreads[filled])
        names = pl.Series(users.astype("U").tolist(), dtype=pl.String)
        return pl.DataFrame(
            {
                "user_id": names.gather(row),
                "rank": (place + 1).astype(np.uint8),
                "item_id": self._ids.gather(items),
                "title": self._titles.gather(items),
                "preference_score": _numbers(rows.scores[filled]),
                "predicted_rating": _numbers(ratings),
                "low": _numbers(lows),
                "high": _numbers(highs),
                "rating": pl.Series(own.astype(np.float32)).fill_nan(None),
                "basis": BASES.gather(rows.cold[row].astype(np.uint32)),
            }
        )


def read_metadata(path: Path) -> dict[str, str]:
    """What a file says of itself; nothing, if it is absent or no whole Parquet file."""
    try:
        return pl.read_parquet_metadata(path)
    except (pl.exceptions.PolarsError, OSError):
        return {}


def _numbers(values: NDArray[np.float32] | NDArray[np.float64]) -> pl.Series:
    return pl.Series(to_places(values).astype(np.float32))
