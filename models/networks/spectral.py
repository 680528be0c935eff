"""Spectral normalisation of encoder and decoder, while training.

Every weight is divided by its largest singular value, estimated by one power iteration a step
(Miyato et al. 2018, "Spectral normalization for generative adversarial networks", algorithm 1), so
no linear layer stretches a difference between two users. The heads' projections stay free: item
factors would make up for them.
"""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from models.networks.hybrid_vae import HybridVAE


def normalise_spectrally(network: HybridVAE) -> None:
    """Make every linear layer from the pooled history to the last hidden layer of norm 1."""
    for layer in linear_layers(network):
        spectral_norm(layer)


def linear_layers(network: HybridVAE) -> list[nn.Linear]:
    """The linear layers that are normalised, in the order of a pass."""
    parts = (network.encoder, network.to_mean, network.to_log_variance, network.decoder)
    return [m for part in parts for m in part.modules() if isinstance(m, nn.Linear)]
