"""The mean rating for everybody and everything: the figure no rating model may miss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories
from training.baselines.rows import fitted_rows
from training.ratings import Ratings


@dataclass(frozen=True)
class MeanBaseline:
    """Predicts `mean` always; it has no preference scores."""

    mean: float
    name: str = "mean"

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """float32 [T]: the mean, once per asked item."""
        return np.full(len(items), self.mean, np.float32)

    def score(self, histories: Histories) -> None:
        """None: it prefers nothing to anything."""
        return None


def fit_mean(ratings: Ratings, rows: NDArray[np.int64]) -> MeanBaseline:
    """The mean of the given rows. Raises ProtocolError if there are none."""
    return MeanBaseline(fitted_rows(ratings, rows).mean)
