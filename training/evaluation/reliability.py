"""Whether intervals hold what they promise, overall and for whom: measured on rows never fitted.

    curve      share of the rows held by intervals of 10% to 95%, each calibrated on validation rows
    fifths     coverage and width in each fifth of the users by the length of their visible history,
               and of the items by popularity
    constant   the width that would hold as many rows if it were the same for every rating

Widths are those of intervals as they are served: clipped to the scale. Shapes: T scored rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import RatingScale
from training.evaluation.calibration import Calibrated
from training.evaluation.fifths import fifths
from training.evaluation.metrics import inside
from training.evaluation.predictor import Interval, IntervalPredictor
from training.evaluation.record import Record
from training.ratings import Ratings
from training.split import Fold, Rows

Floats = NDArray[np.float64]


class Level(Record):
    """One point of the reliability curve."""

    nominal: float
    measured: float


class Band(Record):
    """A fifth of the users or items: `smallest` to `largest` ratings each, `rows` scored rows."""

    smallest: int
    largest: int
    rows: int
    coverage: float
    width: float


class Reliability(Record):
    """What the intervals of one predictor are worth on one fold."""

    fold: str
    nominal: float
    rows: int
    coverage: float
    width: float
    constant_width: float
    users: tuple[Band, ...]
    items: tuple[Band, ...]
    curve: tuple[Level, ...]


@dataclass(frozen=True)
class Judged:
    """Rows and what was said of them: actual and predicted ratings and spreads, each [T]."""

    actual: Floats
    predicted: Floats
    spread: Floats
    scale: RatingScale

    def ends(self, reach: Floats | float) -> tuple[Floats, Floats]:
        """Both ends of the intervals that reach so far, clipped to the scale."""
        low = np.maximum(self.predicted - reach, self.scale.minimum)
        return low, np.minimum(self.predicted + reach, self.scale.maximum)

    def held(self, interval: Interval) -> tuple[NDArray[np.bool_], Floats]:
        """Whether each row is in its interval, and how wide that is."""
        low, high = self.ends(interval.multiplier * self.spread)
        return inside(self.actual, low, high), high - low

    def constant_width(self, rows: int) -> float:
        """Mean width of intervals that reach equally far and hold (at least) as many rows."""
        reaches = np.sort(np.abs(self.actual - self.predicted))
        low, high = self.ends(float(reaches[rows - 1]) if rows else 0.0)
        return float((high - low).mean())


def measure_reliability(
    predictor: IntervalPredictor,
    ratings: Ratings,
    fold: Fold,
    fitted: Rows,
    calibrated: Calibrated,
) -> Reliability:
    """Judge a predictor's intervals on the hidden rows of a fold.

    `fitted` are the rows that popularity is counted on.
    """
    visible, hidden = ratings.histories(fold.visible), ratings.histories(fold.hidden)
    answered = predictor.rate_with_spread(visible, hidden.rows, hidden.items)
    actual, predicted, spread = (np.asarray(c, np.float64) for c in (hidden.ratings, *answered))
    judged = Judged(actual, predicted, spread, ratings.scale)
    held, width = judged.held(calibrated.served)
    popularity = np.bincount(ratings.items[fitted], minlength=len(ratings.catalog))
    return Reliability(
        fold=fold.name,
        nominal=calibrated.served.coverage,
        rows=len(held),
        coverage=float(held.mean()),
        width=float(width.mean()),
        constant_width=judged.constant_width(int(held.sum())),
        users=_bands(hidden.rows, visible.lengths, held, width),
        items=_bands(hidden.items, popularity, held, width),
        curve=_curve(judged, calibrated.curve),
    )


def _curve(judged: Judged, intervals: Sequence[Interval]) -> tuple[Level, ...]:
    shares = ((i.coverage, float(judged.held(i)[0].mean())) for i in intervals)
    return tuple(Level(nominal=nominal, measured=measured) for nominal, measured in shares)


def _bands(
    of_row_T: NDArray[Any], sizes: NDArray[Any], held_T: NDArray[np.bool_], width_T: Floats
) -> tuple[Band, ...]:
    return tuple(
        Band(
            smallest=fifth.smallest,
            largest=fifth.largest,
            rows=int(fifth.rows.sum()),
            coverage=float(held_T[fifth.rows].mean()),
            width=float(width_T[fifth.rows].mean()),
        )
        for fifth in fifths(of_row_T, sizes)
    )
