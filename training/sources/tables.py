"""Any CSV or Parquet file with named columns for user, item, rating and, if wanted, time."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from training.errors import DataError
from training.ratings import Origin, Ratings
from training.sources.assembly import assemble
from training.sources.attribute_tables import read_item_table, read_user_table
from training.sources.delimited import RatingTable, column_type, read_delimited, require_file
from training.sources.layout import Layout
from training.sources.settings import SourceSettings


def load_table(path: Path, settings: SourceSettings) -> Ratings:
    """Ratings of a .csv or .parquet file, columns named by the settings. Raises DataError."""
    require_file(path)
    layout = Layout(
        user=settings.user_column,
        item=settings.item_column,
        rating=settings.rating_column,
        time=settings.time_column,
    )
    if path.suffix.lower() == ".csv":
        table = read_delimited(path, layout)
    elif path.suffix.lower() == ".parquet":
        table = _read_parquet(path, layout)
    else:
        raise DataError(f"{path} is neither .csv nor .parquet; convert or rename the file.")
    items_file, users_file, attributes, users = settings.items_file, settings.users_file, None, None
    if items_file is not None:
        attributes = read_item_table(items_file, settings.item_column)
    if users_file is not None:
        users = read_user_table(users_file, settings.user_column)
    origin = Origin(str(path), "your own: the file says nothing of one")
    return assemble(table, attributes, settings.scale, settings.duplicates, origin, users)


def _read_parquet(path: Path, layout: Layout) -> RatingTable:
    try:
        schema = pl.read_parquet_schema(path)
        roles = layout.positions(path, list(schema))
        chosen = [
            _typed(path, name, dtype, role).alias(role)
            for role, (name, dtype) in zip(roles, schema.items(), strict=True)
            if role
        ]
        frame = pl.scan_parquet(path, glob=False).select(chosen).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        detail = str(error).partition("\n")[0]
        raise DataError(
            f"{path} is truncated or not a Parquet file ({detail}); write it again."
        ) from None
    if frame.height == 0:
        raise DataError(f"{path} holds no ratings; give a file that has some.")
    return RatingTable(frame, path, layout=None)


def _typed(path: Path, name: str, dtype: pl.DataType, role: str) -> pl.Expr:
    """The column as its role's type; whole numbers are ids as they print."""
    column = pl.col(name)
    is_text = dtype in (pl.String, pl.Categorical, pl.Enum)
    if role in ("user", "item") and (dtype.is_integer() or is_text):
        return column.cast(pl.String).cast(column_type(role))
    if role == "rating" and dtype.is_numeric():
        return column.cast(pl.Float32)
    if role == "time" and dtype.is_integer():
        return column.cast(pl.Int64)
    if role == "time" and dtype in (pl.Datetime, pl.Date):
        return column.cast(pl.Datetime("us")).dt.epoch("s")
    belongs = {"rating": "numbers", "time": "Unix seconds or dates"}
    raise DataError(
        f"{path}, row 1: the column {name!r} holds {dtype} where "
        f"{belongs.get(role, 'text or whole numbers')} belong; convert the column."
    )
