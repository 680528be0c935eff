"""A level of latent variables above the first, inferred from genres and decades of release.

    q(z1, z2 | h) = q(z1 | summary of h) q(z2 | h),   p(z1, z2) = N(z1; 0, I) N(z2; A z1 + b, s^2)

The levels of a ladder or hierarchical VAE (Sonderby et al. 2016, "Ladder variational autoencoders",
eq. 1-3): what somebody thinks of comedies or the eighties says what to expect of the finer latent
z2, and only what differs from it is paid for. The summary is, for each group of items, its share of
the history and the mean of what the biases leave of its ratings. The link is linear with a variance
per dimension, so the expectation over z1 has a closed form (`Posterior.divergence`) and no draw of
z1 adds noise to it. The decoder sees both levels, z2 first.
Shapes: B users, N history ratings, A item features, C = 2A, Z dimensions of
z2, U of z1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.networks.architecture import Architecture
from models.networks.flat import sum_by_row
from models.networks.latent import LOG_VARIANCE_RANGE, Posterior, Prior
from models.networks.perceptron import perceptron

GROUP_RIDGE = 2.0  # ratings of the mean that a group's mean residual is shrunk by


class OneLevel(nn.Module):
    """No level above: the prior is the standard normal."""

    def joint(
        self, lower: Posterior, items_N: Tensor, left_N: Tensor, rows_N: Tensor, users: int
    ) -> Posterior:
        """The posterior as it is."""
        return lower


class UpperLevel(nn.Module):
    """Infers z1 from a summary of the history and holds z2 against p(z2 | z1)."""

    def __init__(self, architecture: Architecture, features_IA: Tensor) -> None:
        """features_IA: float32 [I, A], 1 where item i belongs to group a, else 0."""
        super().__init__()
        lower, upper = architecture.latent_dim, architecture.upper_latent_dim
        hidden = architecture.hidden_dims[-1]
        self.features_IA: Tensor
        self.register_buffer("features_IA", features_IA)
        self.encoder = perceptron((2 * features_IA.shape[1], hidden), architecture.dropout)
        self.to_mean = nn.Linear(hidden, upper)
        self.to_log_variance = nn.Linear(hidden, upper)
        nn.init.constant_(self.to_log_variance.bias, -4.0)  # narrow, as the level below is
        # The prior of z2 starts as the standard normal that it is without a level above.
        self.link = nn.Linear(upper, lower)
        nn.init.zeros_(self.link.weight)
        nn.init.zeros_(self.link.bias)
        self.log_variance = nn.Parameter(torch.zeros(lower))

    def joint(
        self, lower: Posterior, items_N: Tensor, left_N: Tensor, rows_N: Tensor, users: int
    ) -> Posterior:
        """The posterior of (z2, z1), [B, Z + U], held against p(z2 | z1) p(z1)."""
        summary_BC = self.summary(items_N, left_N, rows_N, users)
        hidden_BH = self.encoder(summary_BC)
        upper = Posterior(
            self.to_mean(hidden_BH), self.to_log_variance(hidden_BH).clamp(*LOG_VARIANCE_RANGE)
        )
        prior = self.prior(upper)
        zeros_BU = torch.zeros_like(upper.mean_BZ)
        return Posterior(
            torch.cat([lower.mean_BZ, upper.mean_BZ], 1),
            torch.cat([lower.log_variance_BZ, upper.log_variance_BZ], 1),
            Prior(*(torch.cat([part_BZ, zeros_BU], 1) for part_BZ in prior)),
        )

    def prior(self, upper: Posterior) -> Prior:
        """p(z2 | z1) with z1 as uncertain as `upper` says, each [B, Z]."""
        mean_BZ = self.link(upper.mean_BZ)
        log_variance_BZ = self.log_variance.clamp(*LOG_VARIANCE_RANGE).expand_as(mean_BZ)
        variance_BZ = upper.log_variance_BZ.exp() @ self.link.weight.square().T
        return Prior(mean_BZ, log_variance_BZ, variance_BZ)

    def summary(self, items_N: Tensor, left_N: Tensor, rows_N: Tensor, users: int) -> Tensor:
        """Share of the history and shrunk mean residual of every group, [B, C]; 0 if empty.

        left_N: what the biases leave of each rating, in rating units.
        """
        member_NA = self.features_IA.index_select(0, items_N)
        both_NC = torch.cat([member_NA, member_NA * left_N[:, None]], 1)
        sums_BC = both_NC.new_zeros(users, both_NC.shape[1])
        sums_BC = sums_BC.index_put((rows_N,), both_NC, accumulate=True)
        count_BA, left_BA = sums_BC.chunk(2, dim=1)
        length_B = sum_by_row(torch.ones_like(left_N), rows_N, users)
        share_BA = count_BA / length_B.clamp(min=1)[:, None]
        return torch.cat([share_BA, left_BA / (count_BA + GROUP_RIDGE)], 1)


def hierarchy_of(architecture: Architecture, features_IA: Tensor | None) -> OneLevel | UpperLevel:
    """The levels a configuration asks for; raises ValueError if items have no features for two."""
    if not architecture.upper_latent_dim:
        return OneLevel()
    if features_IA is None or not features_IA.shape[1]:
        raise ValueError("upper_latent_dim needs items with genres or years")
    return UpperLevel(architecture, features_IA)
