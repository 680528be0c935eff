"""Closed-form fold-in: a user's vector is the posterior mean of a regression on the history.

Item factors are fixed, those of a Bayesian matrix factorisation. With W the factors of the rated
items, r the ratings less mean and biases, x ~ N(m, I) the user's vector and noise of variance s2
(Salakhutdinov and Mnih 2008, "Bayesian probabilistic matrix factorization", eq. 11, for one user),

    E[x | history] = m + (W'W + s2 I)^-1 W'(r - W m).

The factors are whitened, so that the prior's covariance is I; one of them stands for the user's
bias. The prior mean m tells what having rated these items says of a taste, whatever the stars: a
linear map of the items' identities (Koren 2008, "Factorization meets the neighborhood", eq. 15).

ONNX has no solver, so the system is solved by STEPS of preconditioned conjugate gradients
(Golub and Van Loan, "Matrix computations", algorithm 11.5.1), unrolled: users of all lengths side
by side, no users x F x F array. The factors are turned so that the mean Gram matrix of a rating is
diagonal, which makes n times that diagonal a good preconditioner.

Shapes: B users, N ratings, T named pairs, I items, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.flat import add_by_row, rows_of, sum_by_row

STEPS = 12  # ratings are within 1e-4 of the exact solution for histories of 2,000 ratings
SPREAD_PRIOR = 20.0  # ratings of average surprise that a user's spread is shrunk by
TINY = 1e-30


@dataclass(frozen=True)
class RidgeWeights:
    """Everything a RidgeFoldIn knows; nothing in it is of a user. float32.

    mean: []. item_bias: [I], the rating of a user at the prior's overall mean, less `mean`.
    item_factors: [I, F], whitened. implicit_factors: [I, F], whose sum over a history of n items,
    over sqrt(n), is the prior mean. curvature: [F], diagonal of the mean Gram matrix of a rating.
    noise: [], s2. shrink: [], what the posterior's step from the prior mean is multiplied by.
    surprise: [], root mean square of what is left of the training ratings. item_spread: [I], each
    item's own root mean square over it, shrunk.
    """

    mean: Tensor
    item_bias: Tensor
    item_factors: Tensor
    implicit_factors: Tensor
    curvature: Tensor
    noise: Tensor
    shrink: Tensor
    surprise: Tensor
    item_spread: Tensor


class RidgeUsers(NamedTuple):
    """What the history says of each user: vectors [B, F] and a spread in rating units [B]."""

    vector_BF: Tensor
    spread_B: Tensor


class RidgeFoldIn(nn.Module):
    """Rates and does not rank; a `models.networks.graphs.Rater`.

    Its spread is how surprising the user's own ratings are, times how surprising the item's are.
    """

    def __init__(self, weights: RidgeWeights) -> None:
        super().__init__()
        self.mean: Tensor
        self.item_bias: Tensor
        self.item_factors: Tensor
        self.implicit_factors: Tensor
        self.curvature: Tensor
        self.noise: Tensor
        self.shrink: Tensor
        self.surprise: Tensor
        self.item_spread: Tensor
        for field in fields(RidgeWeights):
            self.register_buffer(field.name, getattr(weights, field.name).to(torch.float32))

    def users_of(self, items_N: Tensor, ratings_N: Tensor, offsets: Tensor) -> RidgeUsers:
        """Fold histories in. offsets: int64 [B + 1]; an empty history is at the prior mean."""
        rows_N, users = rows_of(offsets, items_N), offsets.shape[0] - 1
        count_B = sum_by_row(torch.ones_like(ratings_N), rows_N, users)
        prior_BF = add_by_row(functional.embedding(items_N, self.implicit_factors), rows_N, users)
        prior_BF = prior_BF / torch.sqrt(count_B.clamp(min=1))[:, None]
        design_NF = functional.embedding(items_N, self.item_factors)
        left_N = ratings_N - self.mean - self.item_bias.index_select(0, items_N)
        left_N = left_N - (design_NF * prior_BF.index_select(0, rows_N)).sum(1)
        step_BF = self._solve(design_NF, left_N, rows_N, count_B)
        left_N = left_N - self.shrink * (design_NF * step_BF.index_select(0, rows_N)).sum(1)
        squares_B = sum_by_row(left_N.square(), rows_N, users)
        prior_squares = SPREAD_PRIOR * self.surprise.square()
        spread_B = torch.sqrt((squares_B + prior_squares) / (count_B + SPREAD_PRIOR))
        return RidgeUsers(prior_BF + self.shrink * step_BF, spread_B)

    def _solve(self, design_NF: Tensor, left_N: Tensor, rows_N: Tensor, count_B: Tensor) -> Tensor:
        """(W'W + s2 I)^-1 W' left for every user, [B, F], by conjugate gradients."""
        users = count_B.shape[0]

        def times_system(x_BF: Tensor) -> Tensor:
            product_N = (design_NF * x_BF.index_select(0, rows_N)).sum(1)
            return add_by_row(design_NF * product_N[:, None], rows_N, users) + self.noise * x_BF

        diagonal_BF = count_B[:, None] * self.curvature + self.noise
        residual_BF = add_by_row(design_NF * left_N[:, None], rows_N, users)
        solution_BF = torch.zeros_like(residual_BF)
        direction_BF = residual_BF / diagonal_BF
        energy_B = (residual_BF * direction_BF).sum(1)
        for _ in range(STEPS):
            image_BF = times_system(direction_BF)
            length_B = energy_B / (direction_BF * image_BF).sum(1).clamp(min=TINY)
            solution_BF = solution_BF + length_B[:, None] * direction_BF
            residual_BF = residual_BF - length_B[:, None] * image_BF
            scaled_BF = residual_BF / diagonal_BF
            before_B, energy_B = energy_B, (residual_BF * scaled_BF).sum(1)
            turn_B = energy_B / before_B.clamp(min=TINY)
            direction_BF = scaled_BF + turn_B[:, None] * direction_BF
        return solution_BF

    def rate(self, users: RidgeUsers, rows_T: Tensor, items_T: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted ratings, not clipped, and their spreads, each [T]."""
        product_T = (
            users.vector_BF.index_select(0, rows_T)
            * functional.embedding(items_T, self.item_factors)
        ).sum(1)
        rating_T = self.mean + self.item_bias.index_select(0, items_T) + product_T
        return rating_T, users.spread_B.index_select(0, rows_T) * self.item_spread.index_select(
            0, items_T
        )
