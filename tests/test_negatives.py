"""Sampled softmax: its draws, its estimate and the gradient of it against the full softmax."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.histories import Histories
from models.networks.architecture import Architecture
from models.networks.hybrid_vae import HybridVAE, UserVectors
from models.networks.sampled_softmax import Negatives, sampled_log_softmax
from training.config import load_configuration
from training.errors import ConfigurationError
from training.fitting.batches import DenoisingBatches
from training.fitting.learner import Learner
from training.fitting.negatives import Proposal, expected_draws
from training.fitting.watch import Watch

ITEMS, USERS = 300, 5


@pytest.fixture(scope="module")
def histories() -> Histories:
    """Long-tailed: item i is liked about 900 / (i + 3) times."""
    rng = np.random.default_rng(0)
    share = 1 / (np.arange(ITEMS) + 3.0)
    users, items = np.nonzero(rng.random((100, ITEMS)) < 3 * share / share.max() / 9)
    return Histories.from_columns(users, items, np.full(len(items), 5.0), 100)


def trained_looking() -> HybridVAE:
    """A network whose scores differ, so that how they are sampled matters."""
    torch.manual_seed(0)
    architecture = Architecture(n_factors=6, hidden_dims=(8,), latent_dim=3)
    network = HybridVAE(architecture, ITEMS, torch.arange(1.0, 6.0), 3.5).eval()
    with torch.no_grad():
        network.preference_factors.mul_(12)
        network.preference_bias.copy_(-torch.log(torch.arange(ITEMS) + 3.0))
    return network


def users_of(network: HybridVAE) -> UserVectors:
    """Users whose histories are items 10 b to 10 b + 9, all rated 5."""
    items = torch.arange(10 * USERS)
    return network.users_of(items, torch.full((10 * USERS,), 5.0), torch.arange(USERS + 1) * 10)


TARGET_ROWS = torch.tensor([0, 0, 0, 2, 3, 4, 4])
TARGET_ITEMS = torch.tensor([0, 7, 290, 1, 0, 55, 2])


def likelihood(network: HybridVAE, negatives: Negatives | None) -> Tensor:
    users = users_of(network)
    if negatives is None:
        full_BI = torch.log_softmax(network.logits(users), dim=1)
        return full_BI[TARGET_ROWS, TARGET_ITEMS].mean()
    log_T = sampled_log_softmax(network, users, TARGET_ROWS, TARGET_ITEMS, negatives)
    return log_T.mean()


def gradients(network: HybridVAE, negatives: Negatives | None) -> Tensor:
    value = likelihood(network, negatives)
    wanted = (network.preference_factors, network.preference_bias, network.to_preference.weight)
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, wanted)])


def repeated(proposal: Proposal, times: int, seed: int = 0) -> list[Negatives]:
    rng = np.random.default_rng(seed)
    return [proposal.draw(rng) for _ in range(times)]


def test_expected_draws_follow_popularity_up_to_one_and_sum_to_the_draws() -> None:
    popularity = np.array([100.0, 8.0, 4.0, 2.0, 2.0])
    np.testing.assert_allclose(expected_draws(popularity, 3), [1, 1, 0.5, 0.25, 0.25])
    np.testing.assert_allclose(expected_draws(popularity, 5), np.ones(5))
    np.testing.assert_allclose(expected_draws(popularity, 1), popularity / popularity.sum())


def test_items_are_drawn_as_often_as_expected(histories: Histories) -> None:
    proposal = Proposal.of(histories, ITEMS, 4.0, 40)
    times = 4000
    counted: NDArray[np.float64] = np.zeros(ITEMS)
    expected = np.zeros(ITEMS)
    expected[proposal.items_I] = proposal.expected_I
    for drawn in repeated(proposal, times):
        items = drawn.items_M.numpy()
        assert (np.diff(items) > 0).all()
        draws = np.exp(drawn.log_weight_M.numpy()) * expected[items]
        assert draws.sum() == pytest.approx(40, abs=1e-3)
        counted[items] += draws
    error = (counted / times - expected) / np.sqrt(expected / times)
    assert np.abs(error).max() < 5
    likes = np.bincount(histories.items, minlength=ITEMS)
    capped = expected == 1
    assert capped.sum() == 1
    ratio = ((likes[~capped] + 1.0) / (likes[1] + 1.0)) ** 0.75
    np.testing.assert_allclose(expected[~capped] / expected[1], ratio, rtol=1e-6)


def test_every_item_drawn_once_is_the_full_softmax(histories: Histories) -> None:
    network = trained_looking()
    (drawn,) = repeated(Proposal.of(histories, ITEMS, 4.0, ITEMS + 50), 1)
    assert drawn.items_M.tolist() == list(range(ITEMS))
    torch.testing.assert_close(likelihood(network, drawn), likelihood(network, None))
    torch.testing.assert_close(gradients(network, drawn), gradients(network, None))


def test_the_partition_function_is_estimated_without_bias(histories: Histories) -> None:
    network = trained_looking()
    proposal = Proposal.of(histories, ITEMS, 4.0, 20)
    users = users_of(network)
    with torch.no_grad():
        scores = network.logits(users)
        target = scores[TARGET_ROWS, TARGET_ITEMS]
        exact = torch.logsumexp(scores, dim=1)[TARGET_ROWS].exp()
        estimates = torch.stack([
            (target - sampled_log_softmax(network, users, TARGET_ROWS, TARGET_ITEMS, drawn)).exp()
            for drawn in repeated(proposal, 3000)
        ])  # fmt: skip
    deviation = (estimates.mean(0) - exact) / (estimates.std(0) / len(estimates) ** 0.5)
    assert deviation.abs().max() < 4
    assert estimates.std(0).min() > 0


def test_loss_and_gradient_converge_to_those_of_the_full_softmax(histories: Histories) -> None:
    network = trained_looking()
    loss, gradient = likelihood(network, None).detach(), gradients(network, None)

    def errors(draws: int) -> tuple[float, float]:
        """Root mean square distance of one sample's loss, and of its gradient, relative."""
        samples = repeated(Proposal.of(histories, ITEMS, 4.0, draws), 200)
        of_loss = [float((likelihood(network, s).detach() - loss) ** 2) for s in samples]
        of_gradient = [float((gradients(network, s) - gradient).norm() ** 2) for s in samples]
        scale = float(gradient.norm())
        return float(np.mean(of_loss)) ** 0.5, float(np.mean(of_gradient)) ** 0.5 / scale

    few, more, most = (errors(draws) for draws in (15, 60, 240))
    assert few[0] > 1.5 * more[0] > 3 * most[0]
    assert few[1] > 1.5 * more[1] > 3 * most[1]


def test_the_correction_takes_the_bias_away(histories: Histories) -> None:
    network = trained_looking()
    loss, gradient = float(likelihood(network, None).detach()), gradients(network, None)
    corrected = repeated(Proposal.of(histories, ITEMS, 4.0, 40), 300)
    uncorrected = [Negatives(s.items_M, torch.zeros_like(s.log_weight_M)) for s in corrected]

    def biases(samples: list[Negatives]) -> tuple[float, float]:
        of_loss = np.mean([float(likelihood(network, s).detach()) for s in samples]) - loss
        of_gradient = torch.stack([gradients(network, s) for s in samples]).mean(0) - gradient
        return abs(float(of_loss)), float(of_gradient.norm() / gradient.norm())

    mine, naive = biases(corrected), biases(uncorrected)
    assert mine[0] < 0.1 * naive[0]
    assert mine[1] < 0.2 * naive[1]


def test_a_target_that_is_drawn_counts_once() -> None:
    network = trained_looking()
    users = users_of(network)
    rows, items = torch.tensor([1]), torch.tensor([4])
    drawn = Negatives(torch.tensor([4, 9]), torch.tensor([2.0, 0.5]))
    log_probability = sampled_log_softmax(network, users, rows, items, drawn)
    scores = network.logits(users)[1]
    expected = scores[4] - torch.log(scores[4].exp() + np.exp(0.5) * scores[9].exp())
    torch.testing.assert_close(log_probability, expected[None])
    alone = Negatives(torch.tensor([4]), torch.tensor([2.0]))
    torch.testing.assert_close(
        sampled_log_softmax(network, users, rows, items, alone), torch.zeros(1)
    )
    nothing = torch.zeros(0, dtype=torch.int64)
    assert sampled_log_softmax(network, users, nothing, nothing, drawn).shape == (0,)


def test_a_training_step_never_scores_the_whole_catalogue(
    histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(users: UserVectors) -> Tensor:
        raise AssertionError("the full softmax was computed")

    network = trained_looking()
    monkeypatch.setattr(network, "logits", refuse)
    proposal = Proposal.of(histories, ITEMS, 4.0, 20)
    batches = DenoisingBatches(histories, 32, (0.2, 0.5), 4.0, 0, proposal=proposal)
    settings = load_configuration("proven", ["training.negatives=20"]).training
    learner = Learner(network, settings, len(batches), Watch(lambda text: None))
    batch = next(iter(batches))
    assert batch.negatives is not None
    learner(batch).total.backward()
    assert network.preference_factors.grad is not None
    touched = network.preference_factors.grad.abs().sum(1) > 0
    known = torch.cat([batch.negatives.items_M, batch.hidden.items_T]).unique()
    assert set(touched.nonzero().flatten().tolist()) <= set(known.tolist())
    assert 0 < int(touched.sum()) < ITEMS


def test_sampling_changes_nothing_that_is_hidden(histories: Histories) -> None:
    def items(proposal: Proposal | None) -> Tensor:
        batches = DenoisingBatches(histories, 100, (0.2, 0.5), 4.0, 0, proposal=proposal)
        return next(iter(batches)).items_N

    assert torch.equal(items(None), items(Proposal.of(histories, ITEMS, 4.0, 20)))


@pytest.mark.parametrize("other", ["training.ranking_teacher={}"])
def test_what_needs_all_items_is_refused(other: str) -> None:
    name = other.partition("=")[0].rpartition(".")[2]
    with pytest.raises(ConfigurationError, match=name) as caught:
        load_configuration("proven", [other, "training.negatives=100"])
    assert "\n" not in str(caught.value)
