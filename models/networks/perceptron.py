"""The hidden layers that encoder, decoder and hierarchy are made of."""

from __future__ import annotations

import itertools

from torch import nn


def perceptron(widths: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Hidden layers of the given widths: linear, layer norm, GELU, dropout."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [
            nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.GELU(), nn.Dropout(dropout)
        ]  # fmt: skip
    return nn.Sequential(*layers)
