"""Delimited text as typed columns: polars reads it in parallel, and never row by row.

Every line after the header is one row, blank ones included (they hold nulls, and are refused), so
a row number leads back to its line. What polars cannot parse is explained by `faults`.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from training.errors import DataError
from training.sources.faults import explain, line_of_row
from training.sources.layout import Layout

ROLE_TYPES: dict[str, pl.DataType] = {"rating": pl.Float32(), "time": pl.Int64()}
REST_EMPTY = "rest_empty"


@dataclass(frozen=True)
class RatingTable:
    """Columns user and item (Categorical), rating (Float32) and, where dated, time (Int64).

    `layout` is None for Parquet, where a row has a number but no line.
    """

    frame: pl.DataFrame
    path: Path
    layout: Layout | None

    def place(self, row: int) -> str:
        """Where the 0-based row stands, as a person counts."""
        if self.layout is None:
            return f"{self.path}, row {row + 1}"
        return f"{self.path}, line {line_of_row(self.path, self.layout, row)}"


def read_delimited(path: Path, layout: Layout) -> RatingTable:
    """Read the rating columns of a text file.

    Raises DataError: absent, empty, not UTF-8, ragged, or text where a number belongs.
    """
    require_file(path)
    names = layout.names or read_header(path, layout)
    roles = layout.positions(path, names)
    types = [column_type(role) for role in roles]
    columns = [f"{number}" for number in range(len(names))]
    scan = pl.scan_csv(
        path,
        has_header=False,
        skip_lines=int(layout.header),
        separator=layout.separator,
        quote_char=layout.quote,
        schema=dict(zip(columns, types, strict=True)),
        glob=False,
    )
    chosen = [pl.col(columns[n]).alias(role) for n, role in enumerate(roles) if role]
    unread = [pl.col(columns[n]).is_null() for n, role in enumerate(roles) if not role]
    if unread:  # naming every column makes polars notice lines with too many fields
        chosen.append(pl.all_horizontal(unread).alias(REST_EMPTY))
    try:
        frame = scan.select(chosen).collect(engine="streaming")
    except pl.exceptions.NoDataError:
        raise DataError(_no_ratings(path)) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(explain(path, layout, roles, error)) from None
    if frame.height == 0:
        raise DataError(_no_ratings(path))
    table = RatingTable(frame.drop(REST_EMPTY, strict=False), path, layout)
    if layout.doubled and not frame[REST_EMPTY].all():
        place = table.place(int(frame[REST_EMPTY].arg_min() or 0))
        raise DataError(f"{place}: the fields are not separated by '::'; correct the line.")
    return table


def column_type(role: str | None) -> pl.DataType:
    """The type a column is parsed to; each call gives ids a dictionary of their own."""
    if role in ("user", "item"):
        return pl.Categorical(pl.Categories.random())
    return ROLE_TYPES.get(role or "", pl.String())


def read_header(path: Path, layout: Layout) -> tuple[str, ...]:
    """The column names on line 1."""
    with path.open("rb") as stream:
        first = stream.readline(1 << 20)
    try:
        text = first.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(
            f"{path}, line 1: the text is not UTF-8; save the file with UTF-8 encoding."
        ) from None
    return tuple(next(csv.reader([text.rstrip("\r\n")], delimiter=layout.separator), ()))


def require_file(path: Path) -> None:
    """Raise DataError unless `path` is a file with something in it."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; name the .csv or .parquet file inside it.")
    if not path.is_file():
        raise DataError(f"There is no file {path}; check the path.")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} may not be read by this user; change its permissions.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; give a file that holds ratings.")


def _no_ratings(path: Path) -> str:
    return f"{path} holds no ratings after line 1; give a file that has some."
