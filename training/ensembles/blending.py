"""How members are weighted on validation: what the served ensemble and offline blends share.

Weights of ratings are those of a non-negative least-squares fit with a small ridge penalty towards
equal shares, on deviations from the mean of the validation ratings: predictions of two good
members are nearly equal, and without the ridge their weights would be decided by noise. Weights of
preference scores are those that make what users liked likeliest.

Shapes: M members, T rated pairs, R members that rank, B users, I items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from scipy.special import logsumexp

from models.histories import Histories
from training.evaluation.metrics import Floats

RIDGE = 1e-3
USERS_PER_BLOCK = 100


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


def fit_preference_weights(scores_RBI: NDArray[np.float32], targets: Histories) -> Floats:
    """float64 [R], not negative: the sum of R members' scores that makes the targets likeliest.

    Maximises the multinomial likelihood (Liang et al. 2018, eq. 2): the sum over targets of log
    softmax_I(sum_R w scores), concave in w. scores: -inf for items that are not ranked, in all
    members or none; they are never targets. One member's weight is 1, for it changes no order;
    without a target all weights are equal.
    """
    members = len(scores_RBI)
    equal = np.full(members, 1 / members)
    if members == 1 or not len(targets.items):
        return equal
    found = minimize(
        _unlikelihood, equal, args=(scores_RBI, targets), jac=True, method="L-BFGS-B",
        bounds=[(0, None)] * members,
    )  # fmt: skip
    weights: Floats = found.x
    return weights if weights.max() > 0 else equal


def _unlikelihood(
    weights_R: Floats, scores_RBI: NDArray[np.float32], targets: Histories
) -> tuple[float, Floats]:
    """Mean negative log-likelihood of a target, and its gradient; a block of users at a time."""
    total, gradient_R = 0.0, np.zeros(len(weights_R))
    for start in range(0, len(targets), USERS_PER_BLOCK):
        users = np.arange(start, min(start + USERS_PER_BLOCK, len(targets)))
        of_block, gradient_of_block_R = _of_block(
            weights_R, scores_RBI[:, users].astype(np.float64), targets.take(users)
        )
        total, gradient_R = total + of_block, gradient_R + gradient_of_block_R
    return total / len(targets.items), gradient_R / len(targets.items)


def _of_block(weights_R: Floats, scores_RBI: Floats, targets: Histories) -> tuple[float, Floats]:
    ranked_BI = np.isfinite(scores_RBI[0])
    finite_RBI = np.where(ranked_BI, scores_RBI, 0.0)
    blend_BI = np.where(ranked_BI, np.tensordot(weights_R, finite_RBI, 1), -np.inf)
    log_total_B = logsumexp(blend_BI, axis=1)
    share_BI = np.exp(blend_BI - log_total_B[:, None]) * targets.lengths[:, None]
    of_targets_R = finite_RBI[:, targets.rows, targets.items].sum(1)
    loss = log_total_B @ targets.lengths - weights_R @ of_targets_R
    return float(loss), np.einsum("rbi,bi->r", finite_RBI, share_BI) - of_targets_R
