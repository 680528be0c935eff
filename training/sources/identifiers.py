"""Ids: which are allowed, how they are ordered, and which index each gets.

Users are ordered as ASCII bytes, so the bundle can be searched by bisection. The catalogue is in
numeric order where every id is a whole number, else in lexicographic order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

ALLOWED = r"^[A-Za-z0-9._-]{1,128}$"

Order = Callable[[pl.Series], pl.Series]


def index_identifiers(column: pl.Series, order: Order) -> tuple[NDArray[np.int32], list[str]]:
    """Map a Categorical column to row numbers of its distinct ids.

    Returns (indices int32 [N], the distinct ids in their order). Only ids become Python objects,
    once each; the column is mapped through an array indexed by category.
    """
    distinct = column.unique()
    ordered = order(distinct.cast(pl.String))
    codes = distinct.gather(ordered).to_physical().to_numpy()
    index_of_code = np.zeros(int(codes.max()) + 1, np.int32)
    index_of_code[codes] = np.arange(len(codes), dtype=np.int32)
    return (
        index_of_code[column.to_physical().to_numpy()],
        distinct.gather(ordered).cast(pl.String).to_list(),
    )


def first_bad_identifier(column: pl.Series) -> int | None:
    """The first row whose id is not 1 to 128 allowed characters; None if all are good."""
    distinct = column.unique()
    bad = distinct.filter(~distinct.cast(pl.String).str.contains(ALLOWED))
    if not len(bad):
        return None
    return int(np.argmax(np.isin(column.to_physical().to_numpy(), bad.to_physical().to_numpy())))


def user_order(ids: pl.Series) -> pl.Series:
    """Positions that sort ids as bytes (polars compares text as UTF-8 bytes)."""
    return ids.arg_sort()


def catalogue_order(ids: pl.Series) -> pl.Series:
    """Positions that sort ids by number if all are whole numbers, else as bytes.

    Numbers of any length are compared exactly: by length without leading zeros, then as text.
    """
    if not ids.str.contains(r"^[0-9]+$").all():
        return ids.arg_sort()
    digits = ids.str.strip_chars_start("0")
    frame = pl.DataFrame({"length": digits.str.len_bytes(), "digits": digits, "id": ids})
    return frame.select(pl.arg_sort_by("length", "digits", "id")).to_series()
