"""Likelihoods of a rating against scipy, brute force over the levels, and the bias model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit

from models.manifest import RatingScale
from models.networks.architecture import Architecture
from models.networks.hybrid_vae import HybridVAE
from models.networks.likelihoods import LOG_SPREAD_RANGE, Gaussian, Ordinal, likelihood_of
from models.networks.loss import Hidden, LossWeights, denoising_loss
from tests.parity import check_exported
from tests.small_ratings import random_ratings
from training.baselines import fit_bias
from training.config import Configuration
from training.fitting.initial import build_network

WHOLE = RatingScale(minimum=1, maximum=5, step=1)
HALVES = RatingScale(minimum=0.5, maximum=5, step=0.5)
SCALES = [WHOLE, HALVES]
LOCATIONS = np.array([-3.0, 0.7, 2.0, 3.4, 4.9, 9.0])
LOG_SPREADS = np.array([0.0, -1.0, 0.5, 0.2, -0.4, 9.0])


def fitted(scale: RatingScale) -> Ordinal:
    """An ordinal likelihood with uneven cut-points, as after training."""
    ordinal = Ordinal(torch.from_numpy(scale.levels))
    ordinal.start(torch.arange(1.0, len(scale.levels) + 1).square())
    return ordinal


def probabilities(ordinal: Ordinal, levels: int) -> NDArray[np.float64]:
    """[T, L]: the cumulative link model's level probabilities for LOCATIONS, in plain numpy."""
    scale = float(ordinal.log_scale.exp()) * np.exp(np.clip(LOG_SPREADS, *LOG_SPREAD_RANGE))
    cuts = ordinal.cuts().detach().double().numpy()
    assert len(cuts) == levels - 1
    below = [expit((cut - LOCATIONS) / scale) for cut in cuts]
    bounds = [np.zeros(len(LOCATIONS)), *below, np.ones(len(LOCATIONS))]
    return np.diff(np.array(bounds), axis=0).T


def arguments() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(LOCATIONS).float(), torch.from_numpy(LOG_SPREADS).float()


@pytest.mark.parametrize("scale", SCALES)
@torch.no_grad()
def test_ordinal_rates_by_the_mean_and_deviation_of_its_distribution(scale: RatingScale) -> None:
    ordinal, levels = fitted(scale), scale.levels.astype(float)
    shares = probabilities(ordinal, len(levels))
    mean = shares @ levels
    deviation = np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(axis=1))
    rated, spread = ordinal.rate(*arguments())
    np.testing.assert_allclose(rated.numpy(), mean, atol=1e-5)
    np.testing.assert_allclose(spread.numpy(), np.maximum(deviation, np.exp(-3)), atol=1e-3)


@pytest.mark.parametrize("scale", SCALES)
@torch.no_grad()
def test_ordinal_nll_is_of_the_nearest_level(scale: RatingScale) -> None:
    ordinal, levels = fitted(scale), scale.levels
    shares = probabilities(ordinal, len(levels))
    for index, level in enumerate(levels):
        for rating in (level, level + 0.3 * scale.step):
            given = torch.full((len(LOCATIONS),), float(rating))
            expected = -np.log(shares[:, index])
            nll = ordinal.nll(*arguments(), given)
            np.testing.assert_allclose(nll.numpy(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("location", [-500.0, 500.0])
def test_ordinal_nll_and_its_gradient_stay_finite_far_from_the_scale(location: float) -> None:
    ordinal = fitted(WHOLE)
    given = torch.from_numpy(WHOLE.levels)
    location_T = torch.full((5,), location, requires_grad=True)
    nll = ordinal.nll(location_T, torch.full((5,), -9.0), given)
    nll.sum().backward()
    assert torch.isfinite(nll).all()
    for gradient in (location_T.grad, *(p.grad for p in ordinal.parameters())):
        assert gradient is not None
        assert torch.isfinite(gradient).all()


def test_cut_points_stay_in_order_whatever_is_learned() -> None:
    ordinal = fitted(HALVES)
    with torch.no_grad():
        ordinal.first_cut.fill_(3.0)
        ordinal.log_gaps.copy_(torch.linspace(-6, 2, 8))
    assert (ordinal.cuts().diff() > 0).all()
    assert len(ordinal.cuts()) == 9


@torch.no_grad()
def test_ordinal_starts_at_the_shares_that_were_counted_and_follows_the_location() -> None:
    ordinal = Ordinal(torch.from_numpy(WHOLE.levels))
    counts = np.array([60.0, 110, 260, 350, 220])
    ordinal.start(torch.from_numpy(counts))
    shares = (counts + 1) / (counts + 1).sum()
    mean = float(shares @ WHOLE.levels)
    location, zero = torch.tensor([mean - 0.01, mean, mean + 0.01]), torch.zeros(3)
    for index, level in enumerate(WHOLE.levels):
        nll = ordinal.nll(location, zero, torch.full((3,), float(level)))
        assert float(nll[1]) == pytest.approx(-np.log(shares[index]), abs=1e-4)
    rated, spread = ordinal.rate(location, zero)
    assert float(rated[1]) == pytest.approx(mean, abs=1e-5)
    assert float(rated[2] - rated[0]) / 0.02 == pytest.approx(1, abs=1e-2)
    deviation = np.sqrt(shares @ (WHOLE.levels - mean) ** 2)
    assert float(spread[1]) == pytest.approx(deviation, abs=1e-4)


def test_a_level_nobody_gave_leaves_the_cut_points_apart() -> None:
    ordinal = Ordinal(torch.from_numpy(WHOLE.levels))
    ordinal.start(torch.tensor([0, 10, 0, 30, 20]))
    assert (ordinal.cuts().diff() > 0).all()


@torch.no_grad()
def test_an_unfitted_ordinal_network_is_about_as_good_as_the_bias_model() -> None:
    ratings = random_ratings(120, 80, 0.3, 0)
    rows = np.arange(len(ratings))
    network = build_network(ratings, rows, configuration("ordinal")).eval()
    network.rating_factors.zero_()
    network.to_bias_and_spread.bias.zero_()
    histories = ratings.histories()
    visible = (
        torch.from_numpy(histories.items.astype(np.int64)),
        torch.from_numpy(histories.ratings),
        torch.from_numpy(histories.offsets),
    )
    users = network.users_of(*visible)
    rated, _ = network.rate(users, torch.from_numpy(histories.rows), visible[0])
    bias = fit_bias(ratings, rows).rate(histories, histories.rows, histories.items)

    def rmse(predicted: NDArray[np.float32]) -> float:
        return float(np.sqrt(np.mean((predicted - histories.ratings) ** 2)))

    assert rmse(rated.numpy()) < 1.03 * rmse(bias)


def configuration(likelihood: str) -> Configuration:
    network = {"n_factors": 4, "hidden_dims": (8,), "latent_dim": 3, "likelihood": likelihood}
    return Configuration(name="small", network=Architecture.model_validate(network))


def small_network(scale: RatingScale) -> HybridVAE:
    torch.manual_seed(0)
    network = HybridVAE(configuration("ordinal").network, 30, torch.from_numpy(scale.levels), 3.5)
    with torch.no_grad():
        network.rating_factors.normal_()
        network.log_spread.normal_(0, 0.3)
    network.likelihood.start(torch.arange(1.0, len(scale.levels) + 1))
    return network.eval()


def test_the_objective_adds_squared_error_of_the_mean_and_nll() -> None:
    network = small_network(WHOLE)
    visible = (torch.tensor([1, 2]), torch.tensor([4.0, 2.0]), torch.tensor([0, 0]), 1)
    posterior = network.encode(*visible)
    users = network.decode(posterior.mean_BZ, network.direct(*visible))
    rows, items, ratings = torch.tensor([0, 0]), torch.tensor([5, 9]), torch.tensor([5.0, 1.0])
    weights = LossWeights(rating=2.0, preference=0.0, kl=0.0, free_bits=0.0, factor_penalty=0.0)
    hidden = Hidden(rows, items, ratings, ratings >= 4)
    total = denoising_loss(network, posterior, users, hidden, weights).total
    location, log_spread = network.locate(users, rows, items)
    rated, _ = network.rate(users, rows, items)
    nll = network.likelihood.nll(location, log_spread, ratings)
    expected = 2 * ((rated - ratings).square().mean() + nll.mean())
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(nll.mean(), network.rating_factors)
    assert gradient[5].abs().sum() > 0  # unlike the Gaussian's, it moves the prediction


def test_the_configuration_names_the_likelihood() -> None:
    levels = torch.from_numpy(WHOLE.levels)
    assert isinstance(likelihood_of(Architecture(), levels), Gaussian)
    assert isinstance(likelihood_of(Architecture(likelihood="ordinal"), levels), Ordinal)
    with pytest.raises(ValueError, match="gaussian"):
        Architecture.model_validate({"likelihood": "poisson"})


@pytest.mark.parametrize("scale", SCALES)
def test_ordinal_graphs_answer_as_torch_does(scale: RatingScale, tmp_path: Path) -> None:
    check_exported(small_network(scale), 30, scale, tmp_path)
