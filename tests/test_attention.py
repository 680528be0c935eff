"""Attention over the history against a plain double loop, at its start, and in the graphs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.histories import Histories
from models.manifest import RatingScale
from models.networks.architecture import Architecture
from models.networks.attention import HistoryAttention
from models.networks.hybrid_vae import HybridVAE
from tests.parity import LENGTHS, check_exported, random_histories

SCALE = RatingScale(minimum=1, maximum=5, step=1)
ITEMS, WIDTH = 20, 3


def network(attention_dim: int = WIDTH, likelihood: str = "gaussian") -> HybridVAE:
    torch.manual_seed(0)
    architecture = Architecture.model_validate(
        {"n_factors": 4, "hidden_dims": (8,), "latent_dim": 3}
        | {"attention_dim": attention_dim, "likelihood": likelihood}
    )
    return HybridVAE(architecture, ITEMS, torch.from_numpy(SCALE.levels), 3.5).eval()


def trained(attention_dim: int = WIDTH, likelihood: str = "gaussian") -> HybridVAE:
    """Weights as they might be after training: nothing is 0 any more."""
    net = network(attention_dim, likelihood)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def tensors(part: Histories) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    items, ratings, offsets = map(torch.from_numpy, (part.items, part.ratings, part.offsets))
    return items, ratings, offsets


def linear(layer: torch.nn.Linear, x: NDArray[np.float64]) -> NDArray[np.float64]:
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    mapped: NDArray[np.float64] = weight @ x + bias
    return mapped


def positive(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(x > 0, x + 1, np.exp(x))


def looped_term(net: HybridVAE, part: Histories, user: int, target: int) -> float:
    """The term of one pair: a loop over the history, in float64."""
    attention = net.attention
    assert isinstance(attention, HistoryAttention)
    embedding = net.item_embedding.detach().double().numpy()
    factors = net.rating_factors.detach().double().numpy()[target]
    item_bias = net.rating_bias.detach().double().numpy()
    items, ratings = part.of(user)
    left = ratings - 3.5 - item_bias[items]
    left = left - left.sum() / (len(items) + math.exp(float(net.log_user_ridge)))
    query = positive(linear(attention.to_query, factors))
    said, weights = np.zeros(WIDTH), 0.0
    for item, residual in zip(items, left, strict=True):
        weight = query @ positive(linear(attention.to_key, embedding[item])) / WIDTH
        value = linear(attention.to_value, embedding[item])
        said += weight * (residual * value[:WIDTH] + value[WIDTH:])
        weights += float(weight)
    return float(linear(attention.to_readout, factors) @ said / math.sqrt(1 + weights))


@torch.no_grad()
def test_the_term_is_a_double_loop_over_targets_and_histories() -> None:
    net, plain = trained(), trained()
    assert isinstance(plain.attention, HistoryAttention)
    for parameter in plain.attention.to_readout.parameters():
        parameter.zero_()
    part = random_histories(ITEMS, SCALE, (3, 0, 12, 1))
    rows = torch.arange(4).repeat_interleave(ITEMS)
    items = torch.arange(ITEMS).repeat(4)
    rated, _ = net.rate(net.users_of(*tensors(part)), rows, items)
    without, _ = plain.rate(plain.users_of(*tensors(part)), rows, items)
    expected = [looped_term(net, part, int(u), int(t)) for u, t in zip(rows, items, strict=True)]
    np.testing.assert_allclose((rated - without).numpy(), expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1


@torch.no_grad()
def test_the_term_starts_at_zero_and_an_empty_history_never_speaks() -> None:
    part = random_histories(ITEMS, SCALE, LENGTHS)
    net, plain = network(), network(0)
    rows, items = torch.arange(len(LENGTHS)), torch.arange(len(LENGTHS))
    started, _ = net.rate(net.users_of(*tensors(part)), rows, items)
    assert torch.equal(started, plain.rate(plain.users_of(*tensors(part)), rows, items)[0])
    empty = trained().users_of(*tensors(Histories.empty(1))).kept_BS
    assert torch.equal(empty, torch.zeros(1, WIDTH * (WIDTH + 1)))


def test_every_map_learns_once_the_readout_has_moved() -> None:
    net, part = trained(), random_histories(ITEMS, SCALE, (5, 2))
    rated, _ = net.rate(net.users_of(*tensors(part)), torch.tensor([0, 1]), torch.tensor([3, 4]))
    rated.sum().backward()
    for name, parameter in net.attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_readout_learns_from_the_start() -> None:
    net, part = network(), random_histories(ITEMS, SCALE, (5, 2))
    rated, _ = net.rate(net.users_of(*tensors(part)), torch.tensor([0, 1]), torch.tensor([3, 4]))
    rated.sum().backward()
    assert isinstance(net.attention, HistoryAttention)
    assert net.attention.to_readout.weight.grad is not None
    assert net.attention.to_readout.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_order_and_company_change_nothing() -> None:
    net, part = trained(), random_histories(ITEMS, SCALE, (4, 9, 2))
    rows, items = torch.zeros(ITEMS, dtype=torch.int64), torch.arange(ITEMS)
    together, _ = net.rate(net.users_of(*tensors(part)), rows + 1, items)
    alone = part.take([1])
    turned = Histories(alone.items[::-1].copy(), alone.ratings[::-1].copy(), alone.offsets)
    single, _ = net.rate(net.users_of(*tensors(turned)), rows, items)
    torch.testing.assert_close(single, together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention_dim", [0, WIDTH])
@pytest.mark.parametrize("likelihood", ["gaussian", "ordinal"])
def test_all_items_are_rated_as_named_pairs_are(attention_dim: int, likelihood: str) -> None:
    net = trained(attention_dim, likelihood)
    users = net.users_of(*tensors(random_histories(ITEMS, SCALE, LENGTHS)))
    rows, items = torch.cartesian_prod(torch.arange(len(LENGTHS)), torch.arange(ITEMS)).unbind(1)
    one_by_one, _ = net.rate(users, rows, items)
    torch.testing.assert_close(net.rate_all(users).flatten(), one_by_one, rtol=1e-5, atol=1e-5)


def test_a_smaller_network_without_attention_keeps_nothing() -> None:
    net = network(0)
    assert net.users_of(*tensors(Histories.empty(2))).kept_BS.shape == (2, 0)
    assert not any("attention" in name for name in net.state_dict())


@pytest.mark.parametrize("attention_dim", [1, WIDTH])
def test_graphs_answer_as_torch_does(attention_dim: int, tmp_path: Path) -> None:
    check_exported(trained(attention_dim), ITEMS, SCALE, tmp_path)
