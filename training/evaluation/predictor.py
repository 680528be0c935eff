"""What can be evaluated: anything that answers for histories, a model or a baseline.

Shapes: B users of a batch, T asked pairs, I items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories


@dataclass(frozen=True)
class Interval:
    """Rating +- multiplier * spread, clipped to the scale, should hold `coverage` of ratings."""

    coverage: float
    multiplier: float


# What a predictor with Gaussian errors would have; a calibrated one has its own.
GAUSSIAN_80 = Interval(0.8, 1.2815515655446004)


class Predictor(Protocol):
    """What can be evaluated. It answers for histories, whoever they belong to."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32] | None:
        """float32 [T]: rating of items[t] by the user of history rows[t]; None if it cannot."""

    def score(self, histories: Histories) -> NDArray[np.float32] | None:
        """float32 [B, I]: preference scores, higher is better; None if it does not rank."""


@runtime_checkable
class IntervalPredictor(Protocol):
    """A predictor that also says how sure it is.

    An attribute `interval` says how wide its intervals are; GAUSSIAN_80 if it has none.
    """

    def rate_with_spread(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Ratings as `rate` gives them, and the spread of each, above 0: float32 [T] both."""


@runtime_checkable
class Transductive(Protocol):
    """A predictor that knows its training users by who they are, and not by their history."""

    def for_users(self, users: NDArray[np.int64]) -> Predictor:
        """The predictor for a batch in which row b is user users[b] of the ratings."""
