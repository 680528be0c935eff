"""What items and users are about, from a CSV or Parquet of one's own.

Items: id, title, year, genres. Users: id, and any columns of categories.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from training.errors import DataError
from training.sources.delimited import require_file
from training.sources.faults import first_undecodable_line, line_of_row
from training.sources.items import ItemAttributes, with_years
from training.sources.layout import Layout


def read_item_table(path: Path, item_column: str) -> ItemAttributes:
    """One row per item, in any order; items that were not rated are dropped later.

    The id's column is called `item_column` or id. title, year and genres (names joined by `|`)
    are optional; without a year column the year that ends a title is used. Raises DataError.
    """
    require_file(path)
    frame = _read(path)
    id_column = _id_column(path, frame, item_column, "item")
    title = pl.col("title") if "title" in frame.columns else pl.col(id_column)
    genres = pl.col("genres") if "genres" in frame.columns else pl.lit("")
    named = frame.select(pl.col(id_column).alias("item"), title.alias("title"), genres=genres)
    if "year" not in frame.columns:
        return ItemAttributes(with_years(named))
    return ItemAttributes(named.with_columns(_years(path, frame["year"])))


def read_user_table(path: Path, user_column: str) -> pl.DataFrame:
    """One row per user, in any order: the column user, and every other one as a category (String).

    The id's column is called `user_column` or id; users who rated nothing are dropped later. An
    empty field means that nothing is known. Raises DataError.
    """
    require_file(path)
    frame = _read(path)
    id_column = _id_column(path, frame, user_column, "user")
    categories = [name for name in frame.columns if name != id_column]
    if not categories:
        raise DataError(
            f"{path}, line 1: there is no column beside {id_column!r}; add what is known of users."
        )
    if "user" in categories:
        raise DataError(
            f"{path}, line 1: the ids are in {id_column!r}, so no category may be called 'user'; "
            "rename the column."
        )
    return frame.select(pl.col(id_column).alias("user"), *categories)


def _id_column(path: Path, frame: pl.DataFrame, wanted: str, role: str) -> str:
    """The column of the ids, each there once."""
    id_column = wanted if wanted in frame.columns else "id"
    if id_column not in frame.columns:
        raise DataError(
            f"{path}, line 1: there is no column {wanted!r} or 'id'; rename the column that "
            f"holds the {role} ids."
        )
    _check_unique(path, frame[id_column], role)
    return id_column


def _read(path: Path) -> pl.DataFrame:
    """Every column as text."""
    is_csv = path.suffix.lower() == ".csv"
    if is_csv and (line := first_undecodable_line(path)):
        raise DataError(
            f"{path}, line {line}: the text is not UTF-8; save the file with UTF-8 encoding."
        )
    try:
        if is_csv:
            return pl.read_csv(path, infer_schema=False, glob=False)
        return pl.read_parquet(path, glob=False).select(pl.all().cast(pl.String))
    except (pl.exceptions.PolarsError, OSError) as error:
        detail = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read ({detail}); check its columns.") from None


def _check_unique(path: Path, ids: pl.Series, role: str) -> None:
    faults = ids.is_null() | ~ids.is_first_distinct()
    if faults.any():
        row = faults.arg_max() or 0
        raise DataError(
            f"{_place(path, row)}: the {role} id {ids[row]!r} is empty or listed twice; "
            "correct or remove the line."
        )


def _years(path: Path, texts: pl.Series) -> pl.Series:
    years = texts.str.strip_chars().cast(pl.Int16, strict=False)
    if (wrong := texts.is_not_null() & years.is_null()).any():
        row = wrong.arg_max() or 0
        raise DataError(
            f"{_place(path, row)}: the year {texts[row]!r} is not a whole number; correct it or "
            "leave it empty."
        )
    return years.alias("year")


def _place(path: Path, row: int) -> str:
    if path.suffix.lower() == ".csv":
        return f"{path}, line {line_of_row(path, Layout(), row)}"
    return f"{path}, row {row + 1}"
