"""Numbers as answers have them: three decimals, intervals clipped to the scale.

Numbers are rounded here and nowhere else. Those of a whole batch are rounded at once, for numpy
asks its price by the call and not by the number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import Manifest

DECIMALS = 3
PLACES = 10.0**DECIMALS


class Rounding:
    """How the numbers of one bundle's answers are made of what its graphs say."""

    def __init__(self, manifest: Manifest) -> None:
        self._scale = manifest.rating_scale
        self._multiplier = manifest.calibration.multiplier

    def ends(
        self, ratings: NDArray[np.float32], spreads: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of intervals, rating -+ multiplier * spread, the lower and the upper; of any shape.

        A rating is on the scale, so each can leave it one way.
        """
        reach = self._multiplier * spreads.astype(np.float64)
        lows = np.maximum(ratings - reach, self._scale.minimum)
        return lows, np.minimum(ratings + reach, self._scale.maximum)

    def of_rankings(
        self,
        scores: NDArray[np.float32],
        ratings: NDArray[np.float32],
        spreads: NDArray[np.float32],
    ) -> NDArray[np.float64]:
        """Scores, ratings and both ends, in whole thousandths: [..., 4, K] of [..., K]."""
        return in_thousandths(np.stack([scores, ratings, *self.ends(ratings, spreads)], axis=-2))


def rounded(values: NDArray[Any]) -> list[float]:
    """Numbers [N] as every answer writes them. Raises as `to_places`."""
    numbers: list[float] = to_places(values).tolist()
    return numbers


def to_places(values: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers of any shape, rounded as every answer has them.

    Raises ValueError for what is not finite: JSON has no way to say it.
    """
    if not np.isfinite(values).all():
        raise not_finite()
    return in_thousandths(values) / PLACES


def in_thousandths(values: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers of any shape in whole thousandths."""
    # As np.round does it, without its detours; adding 0.0 turns -0.0 into 0.0.
    return np.asarray(np.rint(values.astype(np.float64) * PLACES) + 0.0)


def not_finite() -> ValueError:
    """What is raised for a number that cannot be answered."""
    return ValueError("A graph answered with a number that is not finite.")
