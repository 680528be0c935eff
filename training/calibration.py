"""How wide an interval must be: split conformal prediction with the network's spread as scale.

The multiplier is the quantile of |rating - predicted| / spread over rows nobody was fitted on (Lei
et al. 2018, "Distribution-free predictive inference for regression", section 5.2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def interval_multiplier(
    actual: NDArray[np.float32],
    predicted: NDArray[np.float32],
    spread: NDArray[np.float32],
    coverage: float,
) -> float:
    """Spreads to an interval's end so that it holds `coverage` of the given rows.

    Takes the ceil((n + 1) * coverage)-th smallest normalised residual, or the largest.
    """
    normalised = np.sort(np.abs(actual - predicted) / spread)
    rank = int(np.ceil((len(normalised) + 1) * coverage))
    return float(normalised[min(rank, len(normalised)) - 1])
