"""The level above the latent: its divergence, its prior, its summary, its place in the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from models.catalog import Catalog
from models.histories import Histories
from models.manifest import RatingScale
from models.networks.architecture import Architecture
from models.networks.hierarchy import GROUP_RIDGE, UpperLevel
from models.networks.hybrid_vae import HybridVAE
from models.networks.item_features import item_features
from models.networks.latent import Posterior
from models.networks.loss import kl_per_dimension
from tests.parity import check_exported, random_histories
from tests.small_ratings import random_ratings
from training.config import Configuration
from training.errors import ConfigurationError
from training.fitting.initial import build_network

SCALE = RatingScale(minimum=1, maximum=5, step=1)
ITEMS, LOWER, UPPER = 20, 3, 2
CATALOG = Catalog(
    [f"i{n}" for n in range(ITEMS)],
    [f"Item {n}" for n in range(ITEMS)],
    np.array([0, 1989, 1990, 1999, 2001] * 4, np.int16),
    ["Comedy", "Drama"],
    np.array([[n % 2 == 0, n % 3 == 0] for n in range(ITEMS)]),
)


def architecture(upper: int = UPPER) -> Architecture:
    return Architecture(
        n_factors=4, hidden_dims=(8, 6), latent_dim=LOWER, upper_latent_dim=upper, dropout=0
    )


def network(upper: int = UPPER) -> HybridVAE:
    torch.manual_seed(0)
    features = torch.from_numpy(item_features(CATALOG))
    levels = torch.from_numpy(SCALE.levels)
    return HybridVAE(architecture(upper), ITEMS, levels, 3.5, features).eval()


def trained() -> HybridVAE:
    """Weights as they might be after training: nothing is 0 any more."""
    net = network()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return net


def level_of(net: HybridVAE) -> UpperLevel:
    assert isinstance(net.hierarchy, UpperLevel)
    return net.hierarchy


def encoded(net: HybridVAE, part: Histories) -> Posterior:
    items, ratings, rows = map(torch.from_numpy, (part.items, part.ratings, part.rows))
    return net.encode(items, ratings, rows, len(part))


def test_features_are_genres_and_decades() -> None:
    features = item_features(CATALOG)
    assert features.shape == (ITEMS, 2 + 3)
    assert features[0].tolist() == [1, 1, 0, 0, 0]  # of unknown year
    assert features[1].tolist() == [0, 0, 1, 0, 0]
    assert features[2].tolist() == [1, 0, 0, 1, 0]
    assert features[4].tolist() == [1, 0, 0, 0, 1]


@torch.no_grad()
def test_divergence_agrees_with_a_monte_carlo_estimate_over_both_levels() -> None:
    net = trained()
    level = level_of(net)
    level.to_log_variance.bias.zero_()  # uncertain above, so that it matters below
    posterior = encoded(net, random_histories(ITEMS, SCALE, (6,)))
    rng = np.random.default_rng(0)
    mean = posterior.mean_BZ[0].double().numpy()
    deviation = (0.5 * posterior.log_variance_BZ[0]).exp().double().numpy()
    draws = mean + deviation * rng.standard_normal((200_000, LOWER + UPPER))
    lower, upper = draws[:, :LOWER], draws[:, LOWER:]
    link = level.link.weight.double().numpy(), level.link.bias.double().numpy()
    expected = upper @ link[0].T + link[1]
    spread = (0.5 * level.log_variance).exp().double().numpy()
    prior = stats.norm.logpdf(lower, expected, spread).sum(1) + stats.norm.logpdf(upper).sum(1)
    estimate = (stats.norm.logpdf(draws, mean, deviation).sum(1) - prior).mean()
    assert float(posterior.divergence().sum()) == pytest.approx(estimate, rel=0.01)
    assert float(kl_per_dimension(posterior).sum()) == pytest.approx(estimate, rel=0.01)


@torch.no_grad()
def test_divergence_is_torchs_for_a_level_above_that_is_certain() -> None:
    level = level_of(trained())
    level.log_variance.fill_(0.3)
    certain = Posterior(torch.randn(4, UPPER), torch.full((4, UPPER), -60.0))
    lower = Posterior(torch.randn(4, LOWER), torch.randn(4, LOWER))
    prior = level.prior(certain)
    found = Posterior(*lower[:2], prior).divergence()
    q = Normal(lower.mean_BZ, (0.5 * lower.log_variance_BZ).exp())
    p = Normal(level.link(certain.mean_BZ), np.exp(0.15))
    torch.testing.assert_close(found, torch.distributions.kl_divergence(q, p))


@torch.no_grad()
def test_the_prior_starts_as_the_standard_normal() -> None:
    posterior = encoded(network(), random_histories(ITEMS, SCALE, (6, 0, 2)))
    q = Normal(posterior.mean_BZ, (0.5 * posterior.log_variance_BZ).exp())
    expected = torch.distributions.kl_divergence(q, Normal(0.0, 1.0))
    torch.testing.assert_close(posterior.divergence(), expected)


def test_what_the_level_above_foretells_costs_less() -> None:
    """The best link is the ridge regression of z2's means on z1's, its penalty z1's variance."""
    level = level_of(network())
    torch.manual_seed(1)
    upper = Posterior(torch.randn(50, UPPER), torch.full((50, UPPER), -1.0))
    told = upper.mean_BZ @ torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.0, 1.0]])
    lower = told + 0.2 * torch.randn(50, LOWER), torch.full((50, LOWER), -3.0)

    def cost() -> torch.Tensor:
        return Posterior(*lower, level.prior(upper)).divergence().sum()

    before = cost().item()
    optimiser = torch.optim.LBFGS([level.link.weight], max_iter=100)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = cost()
        loss.backward()
        return loss

    optimiser.step(closure)
    x, y = upper.mean_BZ, lower[0]
    penalty = torch.diag(upper.log_variance_BZ.exp().sum(0))
    expected = torch.linalg.solve(x.T @ x + penalty, x.T @ y).T
    torch.testing.assert_close(level.link.weight.detach(), expected, atol=1e-3, rtol=1e-3)
    assert cost().item() < 0.8 * before


@torch.no_grad()
def test_the_summary_counts_groups_as_a_loop_does() -> None:
    level, part = level_of(network()), random_histories(ITEMS, SCALE, (7, 0, 3))
    left = np.random.default_rng(1).normal(size=len(part.items)).astype(np.float32)
    items, rows = torch.from_numpy(part.items), torch.from_numpy(part.rows)
    found = level.summary(items, torch.from_numpy(left), rows, 3)
    features = item_features(CATALOG)
    groups = features.shape[1]
    expected = np.zeros((3, 2 * groups))
    for user in range(3):
        mine = np.flatnonzero(part.rows == user)
        for group in range(groups):
            inside = [n for n in mine if features[part.items[n], group]]
            expected[user, group] = len(inside) / max(len(mine), 1)
            total = sum(float(left[n]) for n in inside)
            expected[user, groups + group] = total / (len(inside) + GROUP_RIDGE)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@torch.no_grad()
def test_the_decoder_sees_both_levels() -> None:
    net, part = trained(), random_histories(ITEMS, SCALE, (5,))
    items, ratings, rows = map(torch.from_numpy, (part.items, part.ratings, part.rows))
    direct = net.direct(items, ratings, rows, 1)
    point = torch.zeros(1, LOWER + UPPER)
    for dimension in range(LOWER + UPPER):
        moved = point.clone()
        moved[0, dimension] = 1
        users, others = net.decode(point, direct), net.decode(moved, direct)
        assert not torch.equal(users.preference_BF, others.preference_BF)


@torch.no_grad()
def test_items_of_equal_features_are_one_to_the_level_above() -> None:
    net, features = trained(), item_features(CATALOG)
    assert features[2].tolist() == features[8].tolist()
    net.rating_bias.zero_()
    ratings, rows = torch.tensor([5.0]), torch.tensor([0])
    one = net.encode(torch.tensor([2]), ratings, rows, 1).mean_BZ
    other = net.encode(torch.tensor([8]), ratings, rows, 1).mean_BZ
    torch.testing.assert_close(one[:, LOWER:], other[:, LOWER:])
    assert not torch.allclose(one[:, :LOWER], other[:, :LOWER])


def test_without_it_nothing_is_above() -> None:
    net = network(0)
    assert not any("hierarchy" in name for name in net.state_dict())
    assert encoded(net, random_histories(ITEMS, SCALE, (4,))).mean_BZ.shape == (1, LOWER)


def test_a_catalogue_without_genres_and_years_is_refused() -> None:
    ratings = random_ratings(30, 20, 0.4, 0)
    configuration = Configuration(name="x", network=architecture())
    with pytest.raises(ConfigurationError, match="needs genres or years"):
        build_network(ratings, np.arange(len(ratings)), configuration)


def test_graphs_answer_as_torch_does(tmp_path: Path) -> None:
    check_exported(trained(), ITEMS, SCALE, tmp_path)
