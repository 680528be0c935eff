"""Likelihoods of a rating: what the location and log-spread of a pair mean, and what a fit costs.

The rating head gives every (user, item) pair a location in rating units and a log-spread. A
likelihood turns both into a predicted rating with its standard deviation, and into the negative
log-likelihood of the rating that was given. The squared error of the predicted rating, which is
what reports score and what lessons are about, stays apart: the objective adds it (`loss`).
Shapes: T pairs, L rating levels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.architecture import Architecture
from models.networks.levels import nearest_level

LOG_SPREAD_RANGE = (-3.0, 1.5)
BEYOND = 1e4  # where the cut-points below the first and above the last lie, in rating units


class Gaussian(nn.Module):
    """The location is the predicted rating; the spread is fitted with that rating held fixed."""

    def start(self, counts_L: Tensor) -> None:
        """Nothing to set: a Gaussian knows no levels."""

    def rate(self, location_T: Tensor, log_spread_T: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted ratings and their standard deviations, each [T]."""
        return location_T, torch.exp(log_spread_T.clamp(*LOG_SPREAD_RANGE))

    def nll(self, location_T: Tensor, log_spread_T: Tensor, ratings_T: Tensor) -> Tensor:
        """-log N(rating; location, spread^2) but for its constant, [T].

        No gradient reaches the location, so learning the spread cannot trade away accuracy.
        """
        predicted_T, spread_T = self.rate(location_T, log_spread_T)
        return gaussian_nll((predicted_T - ratings_T).detach(), spread_T)


class Ordinal(nn.Module):
    """A distribution over the rating levels by ordered cut-points, logistic.

        P(rating <= level_k) = sigmoid((cut_k - location) / scale),  cut_1 < ... < cut_{L-1}

    The cumulative link model (McCullagh 1980, "Regression models for ordinal data", eq. 2.4) with
    a scale of each pair's own (Koren and Sill 2011, "OrdRec"). The predicted rating is the mean of
    the distribution and never leaves the scale; the spread is its standard deviation. Its
    likelihood reaches location and scale alike: both it and the squared error of the mean are
    least at the true distribution, so their sum still is.
    """

    def __init__(self, levels_L: Tensor) -> None:
        """levels_L: float32 [L], L >= 2 evenly spaced ratings, ascending."""
        super().__init__()
        self.levels_L: Tensor
        self.register_buffer("levels_L", levels_L.to(torch.float32))
        self.first_cut = nn.Parameter(torch.zeros(()))
        self.log_gaps = nn.Parameter(torch.zeros(len(levels_L) - 2))
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.start(torch.ones_like(levels_L))

    @torch.no_grad()
    def start(self, counts_L: Tensor) -> None:
        """Set cut-points and scale so that the mean rating is predicted where the location is it.

        With F the cumulative shares of the levels (one added to each count) and m their mean,
        cut_k = m + scale * logit F_k gives at location m the shares themselves, hence the mean m;
        scale = step * sum F (1 - F) makes the predicted rating rise there as the location does.
        A network whose locations are the bias model's then begins at the bias model.
        """
        counts_L = counts_L.double() + 1
        below = (counts_L.cumsum(0) / counts_L.sum())[:-1]
        step = self._step().double()
        mean = self.levels_L[0] + step * (1 - below).sum()
        scale = step * (below * (1 - below)).sum()
        cuts = mean + scale * torch.logit(below)
        self.first_cut.copy_(cuts[0])
        self.log_gaps.copy_(cuts.diff().log())
        self.log_scale.copy_(scale.log())

    def cuts(self) -> Tensor:
        """The cut-points in rating units, [L - 1]: ascending, since every gap is positive."""
        return self.first_cut + functional.pad(self.log_gaps.exp(), (1, 0)).cumsum(0)

    def rate(self, location_T: Tensor, log_spread_T: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the distribution over the levels, each [T].

        With k counted from 0, E k = sum P(k >= j) and E k^2 = sum (2j - 1) P(k >= j), j = 1 .. L-1.
        """
        scale_T = self._scale(log_spread_T)
        above_TC = torch.sigmoid((location_T[:, None] - self.cuts()) / scale_T[:, None])
        odd_C = torch.arange(1, 2 * len(self.levels_L) - 2, 2, device=above_TC.device)
        mean_T = above_TC.sum(1)
        variance_T = (above_TC * odd_C).sum(1) - mean_T.square()
        step = self._step()
        least = math.exp(LOG_SPREAD_RANGE[0])
        spread_T = (step.square() * variance_T).clamp(min=least**2).sqrt()
        return self.levels_L[0] + step * mean_T, spread_T

    def nll(self, location_T: Tensor, log_spread_T: Tensor, ratings_T: Tensor) -> Tensor:
        """-log P(the level nearest to the rating), [T], in nats.

        By sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), which stays exact
        where both are nearly 0 or 1.
        """
        level_T = nearest_level(ratings_T, self.levels_L)
        scale_T = self._scale(log_spread_T)
        cuts = functional.pad(self.cuts(), (1, 0), value=-BEYOND)
        cuts = functional.pad(cuts, (0, 1), value=BEYOND)
        upper_T = (cuts[level_T + 1] - location_T) / scale_T
        lower_T = (cuts[level_T] - location_T) / scale_T
        inside_T = torch.log(-torch.expm1(lower_T - upper_T))
        return functional.softplus(-upper_T) + functional.softplus(lower_T) - inside_T

    def _scale(self, log_spread_T: Tensor) -> Tensor:
        return torch.exp(self.log_scale + log_spread_T.clamp(*LOG_SPREAD_RANGE))

    def _step(self) -> Tensor:
        return (self.levels_L[-1] - self.levels_L[0]) / (len(self.levels_L) - 1)


def likelihood_of(architecture: Architecture, levels_L: Tensor) -> Gaussian | Ordinal:
    """The likelihood that a configuration names."""
    return Ordinal(levels_L) if architecture.likelihood == "ordinal" else Gaussian()


def gaussian_nll(residual_T: Tensor, spread_T: Tensor) -> Tensor:
    """-log N(residual; 0, spread^2) but for its constant, [T]."""
    return torch.log(spread_T) + 0.5 * (residual_T / spread_T).square()
