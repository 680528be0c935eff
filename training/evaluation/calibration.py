"""How wide an interval must be: split conformal prediction with the network's spread as scale.

The multiplier is the quantile of |rating - predicted| / spread over rows nobody was fitted on (Lei
et al. 2018, "Distribution-free predictive inference for regression", section 5.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.predictor import Interval

Floats = NDArray[np.floating[Any]]

CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Calibrated:
    """The interval that is served, and one for each level of the reliability curve."""

    served: Interval
    curve: tuple[Interval, ...]


def calibrated(actual: Floats, predicted: Floats, spread: Floats, coverage: float) -> Calibrated:
    """Intervals that hold `coverage`, and each share of CURVE, of the given rows, each [T]."""
    normalised = np.sort(np.abs(actual - predicted) / spread)
    served, *curve = (Interval(share, _quantile(normalised, share)) for share in (coverage, *CURVE))
    return Calibrated(served, tuple(curve))


def interval_multiplier(
    actual: Floats, predicted: Floats, spread: Floats, coverage: float
) -> float:
    """Spreads to an interval's end so that it holds `coverage` of the given rows."""
    return calibrated(actual, predicted, spread, coverage).served.multiplier


def _quantile(ascending: Floats, share: float) -> float:
    """The ceil((n + 1) * share)-th smallest value, or the largest."""
    rank = int(np.ceil((len(ascending) + 1) * share))
    return float(ascending[min(rank, len(ascending)) - 1])
