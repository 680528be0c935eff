"""The latent vector of a user: its posterior, its prior, and the divergence between the two.

Both are diagonal Gaussians. The prior is the standard normal but where `hierarchy` puts a level
above. Shapes: B users, Z latent dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LOG_VARIANCE_RANGE = (-10.0, 5.0)


class Prior(NamedTuple):
    """p(z | level above): mean and log-variance, each [B, Z] or a scalar for all.

    mean_variance_BZ: the variance of that mean, since the level above is itself uncertain.
    """

    mean_BZ: Tensor
    log_variance_BZ: Tensor
    mean_variance_BZ: Tensor


STANDARD_NORMAL = Prior(torch.zeros(()), torch.zeros(()), torch.zeros(()))


class Posterior(NamedTuple):
    """q(z | history): mean and log-variance, each [B, Z]; and the prior it is held against."""

    mean_BZ: Tensor
    log_variance_BZ: Tensor
    prior: Prior = STANDARD_NORMAL

    def sample(self) -> Tensor:
        """One reparameterised draw, [B, Z] (Kingma and Welling 2014, section 2.4)."""
        noise_BZ = torch.randn_like(self.mean_BZ)
        return self.mean_BZ + noise_BZ * torch.exp(0.5 * self.log_variance_BZ)

    def divergence(self) -> Tensor:
        """E KL(q(z | history) || p(z | level above)) in nats, [B, Z].

        The expectation is over the level above: E (mean - m)^2 = (mean - E m)^2 + Var m.
        """
        prior = self.prior
        square_BZ = (self.mean_BZ - prior.mean_BZ).square() + prior.mean_variance_BZ
        ratio_BZ = (square_BZ + self.log_variance_BZ.exp()) / prior.log_variance_BZ.exp()
        return 0.5 * (ratio_BZ - 1 - self.log_variance_BZ + prior.log_variance_BZ)
