"""EASE, the closed-form linear item-to-item model (Steck 2019, "Embarrassingly Shallow
Autoencoders for Sparse Data").

Each liked item votes for the others with a weight; no item votes for itself. With X the 0/1
matrix of liked ratings and P = (X'X + lambda I)^-1, the weights are -P_ij / P_jj off the diagonal.
X is sparse and its Gram matrix is made a block of columns at a time; it is inverted in float64, in
place (counts of 10^5 beside a lambda of 10^2 would cost float32 half its digits), and the weights
are kept in float32. That is 12 bytes a pair of items: 4.8 GB at 20,000 items, 92 GB at 87,585,
hence the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csr_array

from models.histories import Histories
from training.baselines.rows import refuse_no_rows
from training.errors import ConfigurationError
from training.ratings import Ratings

MAX_ITEMS = 20_000
_GRAM_COLUMNS = 512


@dataclass(frozen=True)
class EASE:
    """Item-to-item weights float32 [I, I]: row i holds the votes of a liked item i."""

    weights: NDArray[np.float32]
    liked_from: float
    name: str = "ease"

    def rate(self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        """None: it knows likes, not stars."""
        return None

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """float32 [B, I]: the votes of the history's liked items, summed."""
        liked_BI = liked_matrix(histories, len(self.weights), self.liked_from, np.float32)
        scores: NDArray[np.float32] = liked_BI @ self.weights
        return scores


def fit_ease(
    ratings: Ratings, rows: NDArray[np.int64], *, liked_from: float, lambda_: float = 500.0
) -> EASE:
    """Solve EASE on the liked part of the given rows; `lambda_` is its ridge penalty, above 0.

    Raises ConfigurationError above MAX_ITEMS items and for a penalty that is not above 0,
    ProtocolError if there are no rows.
    """
    items = len(ratings.catalog)
    if items > MAX_ITEMS:
        raise ConfigurationError(
            f"EASE inverts an items x items matrix and is limited to {MAX_ITEMS:,} items, but "
            f"{ratings.origin.source} has {items:,}; leave EASE out of this run."
        )
    if not lambda_ > 0:
        raise ConfigurationError(f"EASE needs a lambda above 0, not {lambda_:g}.")
    refuse_no_rows(ratings, rows)
    liked_UI = liked_matrix(ratings.histories(rows), items, liked_from, np.float64)
    return EASE(_item_weights(liked_UI, lambda_), liked_from)


def liked_matrix(histories: Histories, items: int, liked_from: float, dtype: Any) -> Any:
    """Sparse [B, I]: 1 where the history likes the item."""
    likes = (np.asarray(histories.ratings) >= liked_from).astype(dtype)
    shape = (len(histories), items)
    matrix = csr_array((likes, histories.items, histories.offsets), shape=shape, copy=True)
    matrix.eliminate_zeros()
    return matrix


def _item_weights(liked_UI: Any, lambda_: float) -> NDArray[np.float32]:
    inverse_II = _inverse_in_place(_ridged_gram(liked_UI, lambda_))
    diagonal_I = np.diag(inverse_II).copy()
    weights_II = np.empty(inverse_II.shape, np.float32)
    np.divide(inverse_II, -diagonal_I, out=weights_II, casting="same_kind")
    np.fill_diagonal(weights_II, 0.0)
    return weights_II


def _ridged_gram(liked_UI: Any, lambda_: float) -> NDArray[np.float64]:
    """X'X + lambda I in Fortran order; the product of a few columns at a time stays small."""
    items = liked_UI.shape[1]
    gram_II = np.empty((items, items), order="F")
    columns_UI = liked_UI.tocsc()
    for start in range(0, items, _GRAM_COLUMNS):
        block = slice(start, start + _GRAM_COLUMNS)
        gram_II[:, block] = (columns_UI.T @ columns_UI[:, block]).toarray()
    gram_II[np.diag_indices_from(gram_II)] += lambda_
    return gram_II


def _inverse_in_place(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of a symmetric positive definite matrix in Fortran order, over its own memory."""
    factor, failed = dpotrf(matrix, lower=1, overwrite_a=1)
    inverse, failed_too = dpotri(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise FloatingPointError("The Gram matrix of EASE is not positive definite.")
    for column in range(len(inverse)):  # LAPACK fills the lower triangle only
        inverse[column, column:] = inverse[column:, column]
    result: NDArray[np.float64] = inverse
    return result
