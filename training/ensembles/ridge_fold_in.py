"""Fits a RidgeFoldIn to what a teacher found: its item side, and the prior of its users.

The teacher's user factors, their biases among them, are used twice and then forgotten. A ridge
regression on which items each user rated gives the prior mean, and the covariance of what it leaves
(leave-one-out, so that its own fit does not count as knowledge) is the prior's covariance, with
which the item factors are whitened. What is left open, noise and shrink, `choose_noise` finds on
validation rows.

Shapes: U users of the teacher with a rating, I items, E the teacher's factors and one for the bias,
F whitened factors, T hidden rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from models.histories import Histories
from models.networks.ridge_fold_in import SPREAD_PRIOR, RidgeWeights
from training.baselines.ease import MAX_ITEMS
from training.errors import ConfigurationError
from training.evaluation.metrics import Floats
from training.teachers.teacher import Teacher

LEAST_VARIANCE = 1e-6  # of a direction of the prior, as a share of the largest
NOISES = (0.5, 0.7, 1.0, 1.4, 2.0)
MOST_SHRINK = 1.5
MOST_USERS = 5_000


@dataclass(frozen=True)
class Noise:
    """What is chosen on validation.

    variance: of a rating's noise, as a share of the teacher's mean squared error on the rows it was
    fitted on. shrink: what the step from the prior mean is multiplied by.
    """

    variance: float
    shrink: float


@dataclass(frozen=True)
class Prior:
    """The whitened problem, noise left open; arrays as in RidgeWeights, in float64.

    error: the teacher's mean squared error on its rows.
    """

    mean: float
    item_bias: Floats
    item_factors: Floats
    implicit_factors: Floats
    curvature: Floats
    error: float

    def fold_in(self, histories: Histories, noises: Sequence[float]) -> tuple[Floats, Floats]:
        """Prior means [B, F], and for each noise the posterior's steps from them [K, B, F].

        Solved exactly, in float64.
        """
        means = np.zeros((len(histories), self.item_factors.shape[1]))
        steps = np.zeros((len(noises), *means.shape))
        ridges = [noise * self.error * np.eye(means.shape[1]) for noise in noises]
        for row in range(len(histories)):
            items, ratings = histories.of(row)
            design = self.item_factors[items]
            means[row] = self.implicit_factors[items].sum(0) / np.sqrt(max(len(items), 1))
            left = ratings - self.mean - self.item_bias[items] - design @ means[row]
            gram, moment = design.T @ design, design.T @ left
            for number, ridge in enumerate(ridges):
                steps[number, row] = cho_solve(cho_factor(gram + ridge), moment)
        return means, steps

    def explained(self, vectors: Floats, rows: NDArray[np.int64], items: NDArray[Any]) -> Floats:
        """float64 [T]: <vectors[rows[t]], factors of items[t]>, mean and item biases apart."""
        products: Floats = np.einsum("tf,tf->t", vectors[rows], self.item_factors[items])
        return products

    def left_by(self, vectors: Floats, histories: Histories) -> Floats:
        """float64 [N]: what users of these vectors leave unexplained of their ratings."""
        products = self.explained(vectors, histories.rows, histories.items)
        left: Floats = histories.ratings - self.mean - self.item_bias[histories.items] - products
        return left


def fit_prior(teacher: Teacher, histories: Histories, implicit_ridge: float) -> Prior:
    """The prior of the teacher's users, whose training histories these are, row by row.

    implicit_ridge: penalty of the map from rated items to a prior mean; histories are of unit
    length. Raises ConfigurationError above MAX_ITEMS items, whose Gram matrix would not fit.
    """
    items = len(teacher.item_bias)
    if items > MAX_ITEMS:
        raise ConfigurationError(
            f"A ridge-fold-in member inverts a matrix of items x items, {MAX_ITEMS:,} at most, and "
            f"there are {items:,}; leave the member out."
        )
    known = np.flatnonzero(histories.lengths)
    vectors_UE = np.column_stack([teacher.user_factors, teacher.user_bias])[known].astype(float)
    factors_IE = np.column_stack([teacher.item_factors, np.ones(items)]).astype(float)
    centre_E = vectors_UE.mean(0)
    map_IE, left_UE = _implicit_map(
        histories.take(known), items, vectors_UE - centre_E, implicit_ridge
    )
    root_EF = _root(np.atleast_2d(np.cov(left_UE.T)))
    curvature, turn_FF = _mean_gram(factors_IE @ root_EF, histories)
    into_EF = root_EF @ turn_FF
    back_EF = np.linalg.pinv(into_EF).T
    rated = teacher.rate(histories.rows, histories.items)
    return Prior(
        mean=teacher.mean,
        item_bias=teacher.item_bias + factors_IE @ centre_E,
        item_factors=factors_IE @ into_EF,
        implicit_factors=map_IE @ back_EF,
        curvature=curvature,
        error=float(np.mean(np.square(histories.ratings - rated), dtype=np.float64)),
    )


def _implicit_map(
    histories: Histories, items: int, vectors_UE: Floats, ridge: float
) -> tuple[Floats, Floats]:
    """Ridge regression of the vectors on rated items: weights [I, E], leave-one-out errors."""
    shares = 1 / np.sqrt(histories.lengths)[histories.rows]
    shape = (len(histories), items)
    rated_UI = csr_array((shares, histories.items, histories.offsets), shape=shape)
    gram_II = (rated_UI.T @ rated_UI).toarray() + ridge * np.eye(shape[1])
    inverse_II = np.linalg.inv(gram_II)
    map_IE = inverse_II @ (rated_UI.T @ vectors_UE)
    leverage_U = np.asarray(rated_UI.multiply(rated_UI @ inverse_II).sum(1)).ravel()
    return map_IE, (vectors_UE - rated_UI @ map_IE) / (1 - leverage_U)[:, None]


def _root(covariance_EE: Floats) -> Floats:
    """[E, F] with root root' = covariance, directions without variance left out."""
    variance, directions = np.linalg.eigh(covariance_EE)
    kept = variance > LEAST_VARIANCE * variance[-1]
    root: Floats = directions[:, kept] * np.sqrt(variance[kept])
    return root


def _mean_gram(factors_IF: Floats, histories: Histories) -> tuple[Floats, Floats]:
    """Eigenvalues [F] and eigenvectors [F, F] of the mean of w w' over the ratings."""
    counts_I = np.bincount(histories.items, minlength=len(factors_IF))
    gram_FF = (factors_IF * counts_I[:, None]).T @ factors_IF / counts_I.sum()
    values, vectors = np.linalg.eigh(gram_FF)
    return np.maximum(values, 0), vectors


def choose_noise(prior: Prior, visible: Histories, hidden: Histories) -> Noise:
    """The noise of NOISES, with its best shrink, that rates the hidden rows best.

    Of many users, about MOST_USERS are asked, evenly drawn.
    """
    asked = np.flatnonzero(hidden.lengths)
    asked = asked[:: -(-len(asked) // MOST_USERS)]
    visible, hidden = visible.take(asked), hidden.take(asked)
    means, steps = prior.fold_in(visible, NOISES)
    left = prior.left_by(means, hidden)
    errors, shrinks = [], []
    for step in steps:
        moved = prior.explained(step, hidden.rows, hidden.items)
        shrink = np.clip(float(moved @ left) / max(float(moved @ moved), 1e-12), 0.0, MOST_SHRINK)
        errors.append(np.mean(np.square(left - shrink * moved)))
        shrinks.append(float(shrink))
    best = int(np.argmin(errors))
    return Noise(NOISES[best], shrinks[best])


def ridge_weights(prior: Prior, noise: Noise, histories: Histories) -> RidgeWeights:
    """The network's weights; spreads come from what is left of the training histories."""
    means, (steps,) = prior.fold_in(histories, [noise.variance])
    left = prior.left_by(means + noise.shrink * steps, histories)
    surprise = float(np.sqrt(np.mean(np.square(left))))
    counts = np.bincount(histories.items, minlength=len(prior.item_bias))
    squares = np.bincount(histories.items, np.square(left), len(prior.item_bias))
    of_item = (squares + SPREAD_PRIOR * surprise**2) / (counts + SPREAD_PRIOR)
    return RidgeWeights(
        mean=_float32(prior.mean),
        item_bias=_float32(prior.item_bias),
        item_factors=_float32(prior.item_factors),
        implicit_factors=_float32(prior.implicit_factors),
        curvature=_float32(prior.curvature),
        noise=_float32(noise.variance * prior.error),
        shrink=_float32(noise.shrink),
        surprise=_float32(surprise),
        item_spread=_float32(np.sqrt(of_item) / surprise),
    )


def _float32(value: float | Floats) -> torch.Tensor:
    return torch.from_numpy(np.asarray(value, np.float32))
