"""A teacher without its library: biases, and the singular vectors of what they leave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.baselines import fit_bias
from training.ratings import Ratings
from training.teachers.teacher import Teacher


def svd_teacher(ratings: Ratings, rows: NDArray[np.int64], rank: int) -> Teacher:
    """Fitted to the rows; unknown pairs count as explained by the biases."""
    bias = fit_bias(ratings, rows)
    histories = ratings.histories(rows)
    left = histories.ratings - bias.rate(histories, histories.rows, histories.items)
    matrix = np.zeros((len(histories), len(ratings.catalog)))
    matrix[histories.rows, histories.items] = left
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    counts = np.maximum(histories.lengths, 1)
    residual = histories.ratings - bias.mean - bias.item_biases[histories.items]
    user_bias = np.bincount(histories.rows, residual, len(histories)) / (counts + 5)
    return Teacher(
        mean=bias.mean,
        user_bias=user_bias.astype(np.float32),
        item_bias=bias.item_biases.astype(np.float32),
        user_factors=(u[:, :rank] * s[:rank]).astype(np.float32),
        item_factors=vt[:rank].T.astype(np.float32),
    )
