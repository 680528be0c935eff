"""How members' predicted ratings are weighted: what the served ensemble and offline blends share.

Weights are those of a non-negative least-squares fit with a small ridge penalty towards equal
shares, on deviations from the mean of the validation ratings: predictions of two good members are
nearly equal, and without the ridge their weights would be decided by noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from training.metrics import Floats

RIDGE = 1e-3


@dataclass(frozen=True)
class Blend:
    """centre: the mean validation rating. weights: float64 [M], none negative."""

    centre: float
    weights: Floats

    def of(self, ratings_MT: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [T]: the blended ratings of M members' ratings [M, T]."""
        deviations = ratings_MT.astype(np.float64) - self.centre
        return np.asarray(self.centre + self.weights @ deviations, np.float32)


def fit_blend(ratings_MT: NDArray[np.float32], actual_T: NDArray[np.float32]) -> Blend:
    """Weights that minimise the squared error plus RIDGE x rows x variance x |w - 1/M|^2."""
    members, rows = ratings_MT.shape
    centre = float(actual_T.mean(dtype=np.float64))
    deviations_TM = ratings_MT.T.astype(np.float64) - centre
    penalty = np.sqrt(RIDGE * rows * deviations_TM.var()) * np.eye(members)
    left = np.vstack([deviations_TM, penalty])
    right = np.concatenate([actual_T - centre, penalty.sum(1) / members])
    weights, _ = nnls(left, right)
    return Blend(centre, weights)
