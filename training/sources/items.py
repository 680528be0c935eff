"""What items are about: titles, years and genres, joined to the items that were rated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.catalog import Catalog

# "(1995)" at the end of a title, also "(1975-1979)", "(2006–)", "(1996/I)" and a closing "(V)".
YEAR = r"\((\d{4})(?:[-\x{2013}/][\dIVX]*)?\)\s*(?:\(T?V\))?\s*$"
NO_GENRES = ("(no genres listed)", "unknown", "")


class ItemAttributes:
    """One row per item: columns item, title (String), year (Int16, 0 unknown), genres (a|b)."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame.select(
            pl.col("item").cast(pl.String),
            pl.col("title").cast(pl.String),
            pl.col("year").cast(pl.Int16).fill_null(0),
            pl.col("genres").cast(pl.String).fill_null(""),
        ).unique("item", keep="first", maintain_order=True)


def with_years(frame: pl.DataFrame) -> pl.DataFrame:
    """Move the year that ends a title into a column of its own; titles without one stay."""
    return frame.with_columns(
        title=pl.col("title").str.replace(YEAR, "").str.strip_chars(),
        year=pl.col("title").str.extract(YEAR).cast(pl.Int16),
    )


def catalog_of(ids: Sequence[str], attributes: ItemAttributes | None) -> Catalog:
    """The catalogue of the given ids, in their order. An item nobody describes is titled its id."""
    if attributes is None:
        return Catalog(ids, ids, np.zeros(len(ids), np.int16), [], np.zeros((len(ids), 0), bool))
    rated = pl.DataFrame({"item": ids}, schema={"item": pl.String})
    joined = rated.join(attributes.frame, on="item", how="left", maintain_order="left")
    untitled = pl.col("title").is_null() | (pl.col("title") == "")
    joined = joined.with_columns(title=pl.when(untitled).then("item").otherwise("title"))
    genre_names, genres = _genre_matrix(joined["genres"].fill_null(""))
    years = joined["year"].fill_null(0).to_numpy().astype(np.int16)
    return Catalog(ids, joined["title"].to_list(), years, genre_names, genres)


def _genre_matrix(
    genres: pl.Series,
) -> tuple[list[str], NDArray[np.bool_]]:
    """Names, sorted, of the genres that occur, and bool [I, G]."""
    pairs = (
        pl.DataFrame({"row": np.arange(len(genres)), "genre": genres.str.split("|")})
        .explode("genre")
        .with_columns(pl.col("genre").str.strip_chars())
        .filter(~pl.col("genre").is_in(NO_GENRES))
    )
    names = pairs["genre"].unique().sort()
    matrix = np.zeros((len(genres), len(names)), np.bool_)
    matrix[pairs["row"].to_numpy(), names.search_sorted(pairs["genre"]).to_numpy()] = True
    return names.to_list(), matrix
