"""HybridVAE, its loss and its graphs against plain loops and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from models.histories import Histories
from models.manifest import RatingScale
from models.networks.architecture import Architecture, Shallow
from models.networks.flat import rows_of
from models.networks.graphs import RateGraph, RecommendGraph
from models.networks.hybrid_vae import USER_RIDGE, Direct, HybridVAE
from models.networks.latent import Posterior
from models.networks.likelihoods import gaussian_nll
from models.networks.loss import Hidden, LossWeights, denoising_loss, free_kl, kl_divergence
from models.networks.selectors import ExactSelector
from training.baselines import BiasBaseline

SCALE = RatingScale(minimum=1, maximum=5, step=1)
ITEMS = 12


def network(**changes: object) -> HybridVAE:
    torch.manual_seed(0)
    architecture = Architecture(n_factors=4, hidden_dims=(8, 6), latent_dim=3).model_copy(
        update=changes
    )
    return HybridVAE(architecture, ITEMS, torch.from_numpy(SCALE.levels), 3.5).eval()


def histories() -> Histories:
    return Histories(
        np.array([3, 5, 7, 1, 2], np.int64),
        np.array([4, 1, 5, 3, 3], np.float32),
        np.array([0, 3, 3, 5], np.int64),
    )


def tensors(part: Histories) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    items, ratings, offsets = map(torch.from_numpy, (part.items, part.ratings, part.offsets))
    return items, ratings, offsets


@pytest.mark.parametrize("offsets", [[0], [0, 0], [0, 3, 3, 5], [0, 0, 0, 2], [0, 2, 2, 2]])
def test_rows_of_agrees_with_repeat(offsets: list[int]) -> None:
    lengths = np.diff(offsets)
    entries = torch.zeros(offsets[-1], dtype=torch.int64)
    expected = np.repeat(np.arange(len(lengths)), lengths)
    assert rows_of(torch.tensor(offsets), entries).tolist() == expected.tolist()


def test_pooling_sums_embeddings_per_level_as_a_loop_does() -> None:
    net, part = network(), histories()
    pooled = net.pool(*tensors(part)[:2], torch.from_numpy(part.rows), 3).detach().numpy()
    expected = np.zeros((3, 5, 4))
    for user in range(3):
        items, ratings = part.of(user)
        for item, rating in zip(items, ratings, strict=True):
            level = int(rating) - 1
            expected[user, level] += net.item_embedding[item].detach().numpy() / math.sqrt(
                len(items) + 1
            )
    np.testing.assert_allclose(pooled, expected.reshape(3, -1), atol=1e-6)


def test_a_rating_off_the_levels_counts_as_the_nearest() -> None:
    net = network()
    items, rows = torch.tensor([3]), torch.tensor([0])
    near = net.pool(items, torch.tensor([3.8]), rows, 1)
    assert torch.equal(near, net.pool(items, torch.tensor([4.0]), rows, 1))
    assert not torch.equal(near, net.pool(items, torch.tensor([3.0]), rows, 1))


def test_order_of_a_history_and_company_in_the_batch_change_nothing() -> None:
    net, part = network(shallow=Shallow(rank=3)), histories()
    assert net.shallow is not None
    net.shallow.start(torch.randn(ITEMS, 3), torch.randn(ITEMS, 3), torch.ones(5))
    alone = net.users_of(*tensors(part.take([0])))
    together = net.users_of(*tensors(part.take([2, 0, 1])))
    turned = net.users_of(
        torch.tensor([7, 3, 5]), torch.tensor([5.0, 4.0, 1.0]), torch.tensor([0, 3])
    )
    for a, b, c in zip(alone, together, turned, strict=True):
        assert a is not None and b is not None and c is not None
        torch.testing.assert_close(a[0], b[1])
        torch.testing.assert_close(a[0], c[0])


@torch.no_grad()
def test_rating_head_is_biased_matrix_factorisation() -> None:
    net, part = network(), histories()
    users = net.users_of(*tensors(part))
    rated, spread = net.rate(users, torch.tensor([0, 2]), torch.tensor([4, 9]))
    for t, (row, item) in enumerate([(0, 4), (2, 9)]):
        expected = (
            3.5
            + float(users.bias_B[row])
            + float(net.rating_bias[item])
            + float(users.rating_BF[row] @ net.rating_factors[item])
        )
        assert float(rated[t]) == pytest.approx(expected, abs=1e-5)
        log_spread = float(users.log_spread_B[row] + net.log_spread[item])
        assert float(spread[t]) == pytest.approx(math.exp(log_spread), rel=1e-5)


@pytest.mark.parametrize("shallow", [None, Shallow(rank=3)], ids=["deep", "deep and shallow"])
@torch.no_grad()
def test_scores_of_named_pairs_are_entries_of_all_scores(shallow: Shallow | None) -> None:
    net, part = network(shallow=shallow), histories()
    net.preference_bias.normal_()
    if net.shallow is not None:
        net.shallow.start(torch.randn(ITEMS, 3), torch.randn(ITEMS, 3), torch.ones(5))
    users = net.users_of(*tensors(part))
    rows, items = torch.tensor([2, 0, 0, 1, 2]), torch.tensor([4, 9, 4, 0, 11])
    expected = net.logits(users)[rows, items]
    assert expected.unique().numel() == 5
    found = RateGraph(net, SCALE)(*tensors(part), items, rows)[2]
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_an_unfitted_network_rates_as_the_bias_model_does() -> None:
    net, part = network(), histories()
    net.start_items(torch.linspace(-1, 1, ITEMS), torch.zeros(ITEMS))
    net.rating_factors.zero_()
    net.to_bias_and_spread.bias.zero_()
    items = np.array([0, 5, 11], np.int64)
    rated, _ = net.rate(
        net.users_of(*tensors(part)), torch.tensor([0, 1, 2]), torch.from_numpy(items)
    )
    baseline = BiasBaseline(3.5, net.rating_bias.double().numpy(), USER_RIDGE, SCALE)
    expected = 3.5 + baseline.user_biases(part) + baseline.item_biases[items]
    np.testing.assert_allclose(rated.numpy(), expected, atol=1e-5)


def test_every_decoder_layer_sees_the_latent_vector_only_with_skip_connections() -> None:
    nothing = Direct(torch.zeros(1), torch.zeros(1, 0))

    def reaches_heads(net: HybridVAE) -> bool:
        with torch.no_grad():
            for layer in net.decoder:
                for parameter in layer.parameters():
                    parameter.zero_()
        a = net.decode(torch.zeros(1, 3), nothing).preference_BF
        b = net.decode(torch.ones(1, 3), nothing).preference_BF
        return not torch.equal(a, b)

    assert reaches_heads(network(skip_connections=True))
    assert not reaches_heads(network(skip_connections=False))


def test_kl_agrees_with_a_monte_carlo_estimate() -> None:
    posterior = Posterior(torch.tensor([[0.5, -1.0]]), torch.tensor([[-1.0, 0.3]]))
    rng = np.random.default_rng(0)
    mean = posterior.mean_BZ.numpy()[0]
    deviation = np.exp(posterior.log_variance_BZ.numpy()[0] / 2)
    draws = mean + deviation * rng.standard_normal((400_000, 2))
    estimate = stats.norm.logpdf(draws, mean, deviation) - stats.norm.logpdf(draws)
    assert float(kl_divergence(posterior)) == pytest.approx(estimate.mean(), abs=0.01)


def test_free_bits_take_the_gradient_from_dimensions_below_them() -> None:
    mean = torch.tensor([[2.0, 0.01]], requires_grad=True)
    free_kl(Posterior(mean, torch.zeros(1, 2)), free_bits=1.0).backward()
    assert mean.grad is not None
    assert mean.grad[0, 0] != 0
    assert mean.grad[0, 1] == 0  # its KL of 0.00005 nats is below ln(2) / 2


def test_gaussian_nll_agrees_with_scipy_up_to_its_constant() -> None:
    residual, spread = torch.tensor([0.5, -2.0]), torch.tensor([0.7, 1.3])
    expected = -stats.norm.logpdf(residual.numpy(), scale=spread.numpy()) - 0.5 * math.log(
        2 * math.pi
    )
    np.testing.assert_allclose(gaussian_nll(residual, spread).numpy(), expected, rtol=1e-5)


def loss_of(net: HybridVAE, hidden: Hidden, **weights: float) -> torch.Tensor:
    part = histories()
    visible = (*tensors(part)[:2], torch.from_numpy(part.rows), 3)
    posterior = net.encode(*visible)
    users = net.decode(posterior.mean_BZ, net.direct(*visible))
    base = {"rating": 0.0, "preference": 0.0, "kl": 0.0, "free_bits": 0.0, "factor_penalty": 0.0}
    return denoising_loss(net, posterior, users, hidden, LossWeights(**(base | weights))).total


def hidden_of(rows: list[int], items: list[int], ratings: list[float]) -> Hidden:
    values = torch.tensor(ratings)
    return Hidden(
        torch.tensor(rows, dtype=torch.int64), torch.tensor(items, dtype=torch.int64), values,
        values >= 4,
    )  # fmt: skip


def test_preference_loss_is_the_multinomial_of_liked_items_alone() -> None:
    net, part = network(), histories()
    hidden = hidden_of([0, 0, 2], [1, 2, 6], [5.0, 2.0, 4.0])
    logits = net.logits(net.users_of(*tensors(part))).detach().double().numpy()
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -(log_softmax[0, 1] + log_softmax[2, 6]) / 2
    assert loss_of(net, hidden, preference=1.0).item() == pytest.approx(expected, rel=1e-5)


def test_learning_the_spread_does_not_move_the_predicted_rating() -> None:
    net = network()
    hidden = hidden_of([0, 2], [1, 6], [5.0, 2.0])
    with_spread = torch.autograd.grad(
        loss_of(net, hidden, rating=1.0), net.rating_factors, retain_graph=True
    )[0]
    users = net.users_of(*tensors(histories()))
    rated, _ = net.rate(users, hidden.rows_T, hidden.items_T)
    mse_alone = torch.autograd.grad((rated - hidden.ratings_T).square().mean(), net.rating_factors)
    torch.testing.assert_close(with_spread, mse_alone[0])


def test_a_batch_with_nothing_hidden_costs_nothing_and_is_finite() -> None:
    loss = loss_of(network(), hidden_of([], [], []), rating=1.0, preference=1.0)
    assert loss.item() == 0.0


def test_recommend_graph_agrees_with_a_brute_force_ranking() -> None:
    net, part = network(), histories()
    graph = RecommendGraph(net, SCALE, ExactSelector(net.preference_table()))
    open_to_all = torch.ones(ITEMS, dtype=torch.bool)
    open_to_all[:2] = False
    excluded, offsets = torch.tensor([3, 5, 7, 8]), torch.tensor([0, 3, 3, 4])
    k = torch.tensor(ITEMS)
    items, scores, ratings, _ = graph(*tensors(part), excluded, offsets, open_to_all, k)
    logits = net.logits(net.users_of(*tensors(part))).detach().numpy()
    for row, gone in enumerate([{3, 5, 7}, set(), {8}]):
        allowed = [i for i in range(ITEMS) if open_to_all[i] and i not in gone]
        best = sorted(allowed, key=logits[row].__getitem__, reverse=True)
        assert items[row, : len(best)].tolist() == best
        np.testing.assert_allclose(scores[row, : len(best)].detach(), logits[row, best], rtol=1e-5)
        assert torch.isneginf(scores[row, len(best) :]).all()
    assert ratings.min() >= 1
    assert ratings.max() <= 5
