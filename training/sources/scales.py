"""The rating scale: whether ratings lie on it, and which it is when nobody says.

Inference takes the smallest and the largest rating present as the ends, and the greatest common
divisor of the distances between distinct ratings as the step. A scale of which the ends were never
used must therefore be given.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.manifest import RatingScale

RESOLUTION = 1000  # inferred steps are multiples of 1/1000
MOST_LEVELS = 101
TOLERANCE = 1e-3  # of a step
ROUNDING = 1e-5  # what float32 does to a rating, generously


class UnclearScaleError(Exception):
    """No scale can be read off the ratings; the message says why."""


def distinct_ratings(values: pl.Series) -> NDArray[np.float64]:
    """The distinct ratings, ascending, NaN last. float64 [D]."""
    return np.sort(values.unique().to_numpy().astype(np.float64))


def infer_scale(distinct: NDArray[np.float64]) -> RatingScale:
    """The scale that finite distinct ratings suggest. Raises UnclearScaleError."""
    if len(distinct) < 2:
        raise UnclearScaleError(f"every rating is {distinct[0]:g}")
    if len(distinct) > MOST_LEVELS:
        raise UnclearScaleError(f"there are {len(distinct)} different ratings")
    distances = np.rint((distinct - distinct[0]) * RESOLUTION).astype(np.int64)
    step = float(np.gcd.reduce(distances)) / RESOLUTION
    uneven = np.abs(distinct - distinct[0] - distances / RESOLUTION).max() > ROUNDING
    if (
        uneven
        or (distances[1:] == 0).any()
        or (distinct[-1] - distinct[0]) / step > MOST_LEVELS - 1
    ):
        raise UnclearScaleError("the ratings are not evenly spaced")
    return RatingScale(minimum=float(distinct[0]), maximum=float(distinct[-1]), step=step)


def off_scale(distinct: NDArray[np.float64], scale: RatingScale) -> NDArray[np.bool_]:
    """bool [D]: which ratings are NaN, beyond an end, or between two steps."""
    with np.errstate(invalid="ignore"):
        steps = (distinct - scale.minimum) / scale.step
        last = (scale.maximum - scale.minimum) / scale.step
        on = np.abs(steps - np.rint(steps)) <= TOLERANCE
        return ~(on & (steps >= -TOLERANCE) & (steps <= last + TOLERANCE))


def describe_scale(scale: RatingScale) -> str:
    """The scale in words."""
    return f"{scale.minimum:g} to {scale.maximum:g} in steps of {scale.step:g}"
