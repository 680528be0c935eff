"""Spectral normalisation against numpy's singular values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.networks.architecture import Architecture
from models.networks.collapse import collapsed
from models.networks.hybrid_vae import HybridVAE
from models.networks.spectral import linear_layers, normalise_spectrally
from tests.small_ratings import random_ratings
from training.config import Configuration, Optimisation
from training.fitting.trainer import choose
from training.split import split_ratings


def largest_singular_values(network: HybridVAE) -> list[float]:
    weights = [layer.weight.detach().numpy() for layer in linear_layers(network)]
    return [float(np.linalg.svd(weight, compute_uv=False)[0]) for weight in weights]


def network() -> HybridVAE:
    torch.manual_seed(0)
    architecture = Architecture(n_factors=6, hidden_dims=(24, 16), latent_dim=5)
    return HybridVAE(architecture, 12, torch.arange(1.0, 6.0), 3.5)


def test_every_weight_is_divided_by_its_largest_singular_value() -> None:
    plain = network()
    with torch.no_grad():
        for depth, layer in enumerate(linear_layers(plain)):
            layer.weight.mul_(3 + depth)
    weights = [layer.weight.detach().numpy().copy() for layer in linear_layers(plain)]
    assert len(weights) == 2 + 2 + 2  # encoder, both of the posterior, decoder
    normalise_spectrally(plain)
    for _ in range(200):  # a power iteration at every pass that trains
        history = (torch.tensor([1]), torch.tensor([3.0]), torch.tensor([0]), 1)
        plain.train().decode(plain.encode(*history).mean_BZ, plain.direct(*history))
    for mine, weight in zip(linear_layers(collapsed(plain)), weights, strict=True):
        expected = weight / np.linalg.svd(weight, compute_uv=False)[0]
        np.testing.assert_allclose(mine.weight.detach(), expected, atol=1e-3)


def test_no_layer_stretches_a_difference() -> None:
    loose, rng = network(), np.random.default_rng(0)
    with torch.no_grad():
        for layer in linear_layers(loose):
            layer.weight.mul_(10)
    normalise_spectrally(loose)
    tight = collapsed(loose)
    for layer in linear_layers(tight):
        a, b = rng.normal(size=(2, 500, layer.in_features)).astype(np.float32)
        moved = layer(torch.from_numpy(a)) - layer(torch.from_numpy(b))
        lengths = np.linalg.norm(moved.detach().numpy(), axis=1) / np.linalg.norm(a - b, axis=1)
        assert lengths.max() < 1.02


@pytest.mark.parametrize("normalised", [True, False])
def test_norms_stay_at_one_while_fitting(tmp_path: Path, normalised: bool) -> None:
    ratings = random_ratings(80, 40, 0.3, 0)
    split = split_ratings(ratings, "random", 42)
    shape = Architecture(n_factors=6, hidden_dims=(24, 16), latent_dim=5, spectral_norm=normalised)
    configuration = Configuration(
        name="test",
        network=shape,
        training=Optimisation.model_validate(
            {"batch_users": 10, "max_epochs": 6, "learning_rate": {"initial": 0.01}}
        ),
    )
    fitted = choose(
        ratings, split.fit, split.validation, configuration, tmp_path, lambda text: None,
        progress=False,
    )  # fmt: skip
    off = np.abs(np.array(largest_singular_values(fitted.network)) - 1)
    assert (off.max() < 0.05) == normalised
