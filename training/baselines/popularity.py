"""Popularity: everybody is offered what most people liked.

It counts ratings of at least `liked_from`, because that is what the ranking protocols look for;
counting every rating also credits items that many watched and few liked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories
from training.baselines.rows import fitted_rows
from training.ratings import Ratings


@dataclass(frozen=True)
class PopularityBaseline:
    """How many of the fitted rows liked each item: int64 [I]."""

    likes: NDArray[np.int64]
    name: str = "popularity"

    def rate(self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        """None: a count is not a rating."""
        return None

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """float32 [B, I], read-only: the same counts for everybody."""
        likes = self.likes.astype(np.float32)
        return np.broadcast_to(likes, (len(histories), len(likes)))


def fit_popularity(
    ratings: Ratings, rows: NDArray[np.int64], *, liked_from: float
) -> PopularityBaseline:
    """Count the given rows that rate an item at least `liked_from`.

    Raises ProtocolError if there are no rows.
    """
    fitted = fitted_rows(ratings, rows)
    liked = fitted.items[fitted.values >= liked_from]
    return PopularityBaseline(np.bincount(liked, minlength=len(ratings.catalog)))
