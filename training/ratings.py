"""Ratings as typed columns: what every source produces and every later room reads.

No rating ever becomes a Python object: a million rows are four arrays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.catalog import Catalog
from models.histories import Histories
from models.manifest import RatingScale


@dataclass(frozen=True)
class Origin:
    """Where ratings came from, for reports and manifests."""

    source: str
    licence: str


@dataclass(frozen=True)
class UserAttributes:
    """What is known of U users beside their ratings: A attributes, each a category.

    names: of the attributes. categories: of each attribute, in order. codes_UA: int32, index into
    an attribute's categories, -1 where it is not known.
    """

    names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    codes_UA: NDArray[np.int32]


@dataclass(frozen=True)
class Ratings:
    """N ratings in the source's row order, by U users of I items.

    users: int32 [N], index into user_ids. items: int32 [N], row of the catalogue. values:
    float32 [N], on `scale`. times: int64 [N], Unix seconds, or None where the source has no dates.
    user_ids: ASCII bytes `S<width>` [U], ascending and unique. The catalogue holds exactly the
    items that were rated at least once. user_attributes: of the same U users, or None where the
    source has none.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    times: NDArray[np.int64] | None
    user_ids: NDArray[np.bytes_]
    catalog: Catalog
    scale: RatingScale
    origin: Origin
    user_attributes: UserAttributes | None = None

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rating columns and ids: two equal data sets have equal digests."""
        sha256 = hashlib.sha256()
        for column in (self.users, self.items, self.values, self.times, self.user_ids):
            if column is not None:
                sha256.update(np.ascontiguousarray(column).view(np.uint8).data)
        sha256.update("\n".join(self.catalog.ids).encode())
        return sha256.hexdigest()

    def histories(self, rows: NDArray[np.int64] | None = None) -> Histories:
        """The histories that the given rows (all, if None) make up: one per user, U in all."""
        chosen = slice(None) if rows is None else rows
        return Histories.from_columns(
            self.users[chosen], self.items[chosen], self.values[chosen], len(self.user_ids)
        )
