"""Who users are: categories joined to the users who rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from training.ratings import UserAttributes


def attributes_of(user_ids: Sequence[str], table: pl.DataFrame) -> UserAttributes:
    """The attributes of the given users, in their order; those nobody describes have none.

    table: columns user and one per attribute, all String; null or blank means not known.
    """
    rated = pl.DataFrame({"user": user_ids}, schema={"user": pl.String})
    joined = rated.join(table, on="user", how="left", maintain_order="left").drop("user")
    columns = [_known(joined[name]) for name in joined.columns]
    categories = [column.unique().drop_nulls().sort() for column in columns]
    codes = [
        column.replace_strict(names, np.arange(len(names)), default=-1, return_dtype=pl.Int32)
        for column, names in zip(columns, categories, strict=True)
    ]
    return UserAttributes(
        tuple(joined.columns),
        tuple(tuple(names.to_list()) for names in categories),
        np.stack([code.to_numpy() for code in codes], axis=1).astype(np.int32),
    )


def _known(column: pl.Series) -> pl.Series:
    """The texts without what surrounds them, null where nothing is left."""
    text = column.str.strip_chars()
    return text.set(text == "", None)
