"""Item side information: items of a genre or a decade share what their ratings tell.

While training, each item table is a free part plus a linear map of the item's features (Agarwal
and Chen 2009, "Regression-based latent factor models", eq. 2). Items with few ratings, or none,
are then placed by what they are. The map is zero at first, so fitting begins where it does without.
Biases stay free: they start at what counting tells, which leaves features nothing to add.
Shapes: I items, A features, F factors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.networks.hybrid_vae import HybridVAE

ITEM_TABLES = ("item_embedding", "preference_factors", "rating_factors")


class FeatureOffset(nn.Module):
    """Adds a linear map of the items' features to a table [I, F]."""

    def __init__(self, features_IA: Tensor, table: Tensor) -> None:
        super().__init__()
        self.features_IA: Tensor
        self.register_buffer("features_IA", features_IA, persistent=False)
        self.weight = nn.Parameter(torch.zeros(features_IA.shape[1], table.shape[1]))

    def forward(self, free: Tensor) -> Tensor:
        """The table, from its free part of the same shape."""
        return free + self.features_IA @ self.weight


def add_item_features(network: HybridVAE, features_IA: Tensor) -> None:
    """Let the embedding and factors of `network`'s items depend on features while training."""
    for name in ITEM_TABLES:
        offset = FeatureOffset(features_IA, getattr(network, name))
        parametrize.register_parametrization(network, name, offset)
