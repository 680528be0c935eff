"""The network of the source notes: one user and one item in, one rating out.

    [user embedding, item embedding] -> encoder -> latent (mean, log-variance) -> decoder -> rating

It is kept as a baseline. A user is an embedding, so it knows nobody it was not trained on, and an
answer for one user means one pass per item.

Shapes: T pairs, F factors, H hidden, Z latent, U users, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.networks.latent import Posterior
from training.baselines.pairwise_settings import PairwiseSettings

EMBEDDING_STD = 0.05


class PairwiseNetwork(nn.Module):
    """Embeddings of all users and items, and the VAE over a pair of them."""

    def __init__(self, users: int, items: int, mean_rating: float, settings: PairwiseSettings):
        super().__init__()
        widths = settings.hidden_dims
        self.users = nn.Embedding(users, settings.n_factors)
        self.items = nn.Embedding(items, settings.n_factors)
        self.encoder = _layers([2 * settings.n_factors, *widths], settings.dropout)
        self.to_mean = nn.Linear(widths[-1], settings.latent_dim)
        self.to_log_variance = nn.Linear(widths[-1], settings.latent_dim)
        self.decoder = _layers([settings.latent_dim, *reversed(widths)], settings.dropout)
        self.to_rating = nn.Linear(widths[0], 1)
        nn.init.normal_(self.users.weight, std=EMBEDDING_STD)
        nn.init.normal_(self.items.weight, std=EMBEDDING_STD)
        nn.init.constant_(self.to_rating.bias, mean_rating)

    def forward(self, users_TF: Tensor, items_TF: Tensor) -> tuple[Tensor, Posterior]:
        """Ratings [T] and the posterior of each pair; the latent is drawn in training only."""
        encoded_TH = self.encoder(torch.cat([users_TF, items_TF], dim=1))
        posterior = Posterior(self.to_mean(encoded_TH), self.to_log_variance(encoded_TH))
        latent_TZ = posterior.sample() if self.training else posterior.mean_BZ
        return self.to_rating(self.decoder(latent_TZ)).squeeze(1), posterior


def _layers(widths: Sequence[int], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
