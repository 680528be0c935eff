"""Items encoded from their raters: pools against plain loops, and why the pair is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import training.fitting.learner
from models.histories import Histories
from models.networks.architecture import Architecture, RaterEncoding
from models.networks.hybrid_vae import HybridVAE
from models.networks.rater_encoding import RaterEncoder, encode_from_raters, leaving_out
from tests.small_ratings import random_ratings
from training.baselines import fit_bias
from training.config import Configuration, Optimisation
from training.fitting.parametrizations import raters_of
from training.fitting.trainer import choose
from training.split import split_ratings

USERS, ITEMS, WIDTH = 9, 5, 3


def raters() -> Histories:
    """Five items, the third without raters; who rated them, and how far above their mean."""
    return Histories(
        np.array([0, 3, 8, 2, 3, 1, 0, 4, 5, 6], np.int64),
        np.array([1, -0.5, 2, 0.3, -1, 0.7, 1.1, 0.2, -2, 0.4], np.float32),
        np.array([0, 3, 5, 5, 6, 10], np.int64),
    )


def encoder_of(part: Histories, sample: int = 4) -> RaterEncoder:
    torch.manual_seed(0)
    encoder = RaterEncoder(part, USERS, RaterEncoding(width=WIDTH, sample=sample), 0.0)
    nn.init.constant_(encoder.log_ridge, math.log(2.5))
    return encoder


def pools_by_loop(part: Histories, encoder: RaterEncoder, gone: set[int]) -> NDArray[np.float64]:
    vectors = encoder.vectors_UD.detach().double().numpy()
    pools = np.zeros((ITEMS, 2 * WIDTH))
    for item in range(ITEMS):
        kept = [(u, d) for u, d in zip(*part.of(item), strict=True) if u not in gone]
        who = sum((vectors[u] for u, _ in kept), np.zeros(WIDTH))
        how = sum((d * vectors[u] for u, d in kept), np.zeros(WIDTH))
        pools[item] = np.concatenate([who, how]) / (len(kept) + 2.5)
    return pools


@torch.no_grad()
def test_all_raters_are_pooled_as_a_loop_does() -> None:
    part = raters()
    encoder = encoder_of(part)
    expected = pools_by_loop(part, encoder, set())
    np.testing.assert_allclose(encoder.pool_all(), expected, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("gone", [set(), {3}, {0, 3, 6}, {0, 3, 8}])
def test_drawn_pools_estimate_those_without_the_users_left_out(gone: set[int]) -> None:
    part = raters()
    encoder = encoder_of(part, sample=40_000)
    found = encoder.pool_drawn(torch.tensor(sorted(gone), dtype=torch.int64))
    np.testing.assert_allclose(found, pools_by_loop(part, encoder, gone), atol=4e-3)


@torch.no_grad()
def test_a_few_draws_stand_for_all_raters() -> None:
    """Every draw of an item with two alike raters is worth the same, however few they are."""
    part = Histories(np.array([1, 1]), np.array([0.5, 0.5], np.float32), np.array([0, 2]))
    encoder = encoder_of(part, sample=3)
    found = encoder.pool_drawn(torch.tensor([0]))
    np.testing.assert_allclose(found, encoder.pool_all(), atol=1e-6)


@pytest.mark.parametrize("drawn", [True, False])
def test_gradients_agree_with_finite_differences(drawn: bool) -> None:
    encoder = encoder_of(raters()).double()

    def pool(vectors_UD: Tensor, log_ridge: Tensor) -> Tensor:
        torch.manual_seed(1)
        replaced = {"vectors_UD": vectors_UD, "log_ridge": log_ridge}
        part = PoolAlone(encoder, drawn)
        pools: Tensor = torch.func.functional_call(part, {f"encoder.{k}": v for k, v in
                                                          replaced.items()}, ())  # fmt: skip
        return pools

    inputs = (encoder.vectors_UD.detach().requires_grad_(), encoder.log_ridge.detach())
    assert torch.autograd.gradcheck(pool, (inputs[0], inputs[1].requires_grad_()))


class PoolAlone(nn.Module):
    def __init__(self, encoder: RaterEncoder, drawn: bool) -> None:
        super().__init__()
        self.encoder, self.drawn = encoder, drawn

    def forward(self) -> Tensor:
        return self.encoder.pool_drawn(torch.tensor([3])) if self.drawn else self.encoder.pool_all()


def network_of(part: Histories) -> HybridVAE:
    torch.manual_seed(0)
    architecture = Architecture(n_factors=4, hidden_dims=(8,), latent_dim=3)
    network = HybridVAE(architecture, ITEMS, torch.arange(1.0, 6.0), 3.5)
    encode_from_raters(network, part, USERS, RaterEncoding(width=WIDTH, sample=8))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


@torch.no_grad()
def test_within_a_step_no_table_depends_on_the_ratings_of_the_batch() -> None:
    def tables(deviation: float) -> dict[str, list[Tensor]]:
        part = raters()
        part.ratings[[1, 4]] = deviation  # user 3 rated items 0 and 1
        network = network_of(part)

        def both() -> list[Tensor]:
            torch.manual_seed(7)
            return [network.rating_factors.clone(), network.rating_bias.clone()]

        found = {"outside": both()}
        for name, users in (("with", [2]), ("without", [3, 5])):
            torch.manual_seed(7)
            with leaving_out(network, torch.tensor(users)):
                found[name] = both()
        assert all(map(torch.equal, both(), found["outside"]))
        return found

    one, other = tables(1.0), tables(-2.0)
    assert all(map(torch.equal, one["without"], other["without"]))
    for name in ("with", "outside"):
        assert not any(map(torch.equal, one[name], other[name]))


def test_a_step_that_fails_leaves_all_raters_in_place() -> None:
    network = network_of(raters())
    before = network.rating_factors.detach().clone()
    with pytest.raises(KeyError), leaving_out(network, torch.tensor([3])):
        raise KeyError
    assert torch.equal(network.rating_factors, before)


def test_raters_come_from_the_given_rows_alone_and_from_their_own_mean() -> None:
    ratings = random_ratings(40, 30, 0.3, 0)
    rows = np.arange(0, len(ratings), 2)
    bias = fit_bias(ratings, rows)
    part = raters_of(ratings, rows, bias, batch_users=8)
    assert len(part.items) == len(rows)
    expected = bias.mean + bias.user_biases(ratings.histories(rows))
    for row in rows:
        users, deviations = part.of(int(ratings.items[row]))
        deviation = deviations[users == ratings.users[row]]
        user = ratings.users[row]
        np.testing.assert_allclose(deviation, ratings.values[row] - expected[user], atol=1e-5)


def test_encoding_items_and_leaving_the_pair_out_keep_a_network_from_memorising(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eighteen raters an item: free factors learn them by heart, and so do pools with the pair."""
    free = fit(None, tmp_path / "free")
    honest = fit(RaterEncoding(), tmp_path / "honest")
    monkeypatch.setattr(training.fitting.learner, "leaving_out", leaving_out_nobody)
    leaking = fit(RaterEncoding(), tmp_path / "leaking")
    gap = {name: held_out - train for name, (train, held_out) in
           {"free": free, "honest": honest, "leaking": leaking}.items()}  # fmt: skip
    assert gap["honest"] < 0.75 * gap["leaking"]
    assert gap["honest"] < 0.5 * gap["free"]
    assert leaking[0] < honest[0] - 0.02  # better on what it has seen
    assert honest[1] < min(free[1], leaking[1]) - 0.02  # worse on what it has not


@contextmanager
def leaving_out_nobody(network: nn.Module, users_B: Tensor) -> Iterator[None]:
    with leaving_out(network, users_B[:0]):
        yield


def fit(encoding: RaterEncoding | None, folder: Path) -> tuple[float, float]:
    """RMSE of the last epoch on hidden training ratings and on held-out ones."""
    ratings = random_ratings(300, 200, 0.06, 0)
    split = split_ratings(ratings, "random", 42)
    network = Architecture(
        n_factors=32, hidden_dims=(128,), latent_dim=32, dropout=0.0, rater_encoding=encoding
    )
    training = {
        "batch_users": 30, "max_epochs": 60, "patience": 60, "hidden_share": (0.1, 0.4),
        "preference_weight": 0.01, "kl": {"weight": 1e-4}, "learning_rate": {"initial": 0.005},
    }  # fmt: skip
    configuration = Configuration(
        name="test", network=network, training=Optimisation.model_validate(training)
    )
    fitted = choose(
        ratings, split.fit, split.validation, configuration, folder, lambda text: None,
        progress=False,
    )  # fmt: skip
    figures = fitted.history[-1].figures
    return figures["train_rmse"], figures["validation_rmse"]
