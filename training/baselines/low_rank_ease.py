"""EASE in factors: what the largest singular values of the likes tell, without an I x I matrix.

EASE's weights (Steck 2019, eq. 8) are -P_ij / P_jj off the diagonal, P = (X'X + lambda I)^-1. With
the singular values s_k and right singular vectors q_k of the likes X,

    P = (I - sum_k w_k q_k q_k') / lambda,  w_k = s_k^2 / (s_k^2 + lambda),

so the first R of them give weights of rank R whose diagonal no one asks for: an item is not
recommended to those who rated it. Directions with s_k^2 far below lambda hardly count, which is
why a few hundred come close to the exact solution (EXPERIMENTS.md), and why it is computable where
EASE's matrix is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from training.baselines.ease import liked_matrix
from training.baselines.rows import refuse_no_rows
from training.errors import ConfigurationError
from training.ratings import Ratings


@dataclass(frozen=True)
class LowRankEASE:
    """Weights of item i for item j are <votes_in[i], votes_out[j]>; float32 [I, R] both."""

    votes_in: NDArray[np.float32]
    votes_out: NDArray[np.float32]


def fit_low_rank_ease(
    ratings: Ratings, rows: NDArray[np.int64], *, liked_from: float, lambda_: float, rank: int
) -> LowRankEASE:
    """Fit on the liked part of the given rows; `lambda_` is the ridge penalty, above 0.

    A rank beyond what the likes have is filled up with columns of 0. Raises ConfigurationError for
    a penalty that is not above 0, ProtocolError if there are no rows.
    """
    if not lambda_ > 0:
        raise ConfigurationError(f"EASE needs a lambda above 0, not {lambda_:g}.")
    refuse_no_rows(ratings, rows)
    items = len(ratings.catalog)
    liked_UI = liked_matrix(ratings.histories(rows), items, liked_from, np.float64)
    squared_K, vectors_IK = _spectrum(liked_UI, min(rank, min(liked_UI.shape) - 1))
    weight_K = squared_K / (squared_K + lambda_)
    factors_IK = vectors_IK * np.sqrt(weight_K)
    diagonal_I = 1 - np.square(factors_IK).sum(1)  # lambda * P_jj
    padded = ((0, 0), (0, rank - len(weight_K)))
    return LowRankEASE(
        np.pad(factors_IK, padded).astype(np.float32),
        np.pad(factors_IK / diagonal_I[:, None], padded).astype(np.float32),
    )


def _spectrum(liked_UI: Any, rank: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest squared singular values [K] and their right singular vectors [I, K]."""
    if not liked_UI.nnz:
        return np.zeros(0), np.zeros((liked_UI.shape[1], 0))
    _, values_K, vectors_KI = svds(liked_UI, k=max(rank, 1), rng=0)
    return np.square(values_K), vectors_KI.T
