"""Adversarial perturbation against finite differences on a tiny network, noise and dropout on."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.networks.architecture import Architecture
from models.networks.hybrid_vae import HybridVAE
from models.networks.loss import Hidden, Lessons, LossParts
from tests.small_ratings import random_ratings
from training.config import Adversarial, load_configuration
from training.fitting.adversarial import PERTURBED, adversarial_loss, perturbed
from training.fitting.batches import Batch, DenoisingBatches
from training.fitting.learner import Learner
from training.fitting.trainer import Fitted, choose
from training.fitting.watch import Watch
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings

ITEMS, SEED = 7, 5


def learner() -> Learner:
    """In double precision, so that finite differences are exact enough.

    Ratings are learnt from lessons alone: the Gaussian likelihood's gradient is by design not that
    of its value (the mean is held fixed), so no finite difference can tell it.
    """
    torch.manual_seed(0)
    architecture = Architecture(n_factors=2, hidden_dims=(5,), latent_dim=2, dropout=0.3)
    network = HybridVAE(architecture, ITEMS, torch.arange(1.0, 6.0), 3.0).double()
    weights = ["training.preference_weight=1.0", "training.rating_weight=0.0"]
    settings = load_configuration("proven", [*weights, "training.teacher={weight: 2.0}"]).training
    return Learner(network, settings, 1, Watch(lambda text: None))


def batch() -> Batch:
    histories = random_ratings(5, ITEMS, 0.8, seed=0).histories()
    (made,) = DenoisingBatches(histories, 8, (0.3, 0.5), 4.0, 0)
    hidden = Hidden(*(getattr(made.hidden, field.name) for field in fields(Hidden)))
    hidden = replace(hidden, ratings_T=hidden.ratings_T.double())
    lessons = Lessons(hidden.rows_T, hidden.items_T, hidden.ratings_T, None)
    return replace(made, ratings_N=made.ratings_N.double(), hidden=hidden, lessons=lessons)


def plain_loss(module: Learner, part: Batch) -> Tensor:
    torch.manual_seed(SEED)
    parts: LossParts = module(part)
    return parts.total


def total_loss(module: Learner, part: Batch, epsilon: float, weight: float = 1.0) -> Tensor:
    torch.manual_seed(SEED)
    return adversarial_loss(module, part, Adversarial(epsilon=epsilon, weight=weight)).total


def tables(module: Learner) -> list[Tensor]:
    return [getattr(module.network, name).data for name in PERTURBED]


def move(module: Learner, part: Batch, epsilon: float) -> None:
    """Perturb by plain loops, the gradient by central finite differences."""
    steps = []
    for table in tables(module):
        gradient = torch.zeros_like(table)
        for place in np.ndindex(*table.shape):
            kept = float(table[place])
            losses = []
            for nudge in (1e-6, -1e-6):
                table[place] = kept + nudge
                losses.append(float(plain_loss(module, part).detach()))
            table[place] = kept
            gradient[place] = (losses[0] - losses[1]) / 2e-6
        steps.append(torch.zeros_like(table))
        for item in range(ITEMS):
            if gradient[item].norm() > 1e-8:
                direction = gradient[item] / gradient[item].norm()
                steps[-1][item] = epsilon * table[item].norm() * direction
    for table, step in zip(tables(module), steps, strict=True):
        table += step


def test_the_loss_at_the_perturbed_point_is_added() -> None:
    module, part = learner(), batch()
    clean = float(plain_loss(module, part).detach())
    total = float(total_loss(module, part, 0.3, weight=0.7).detach())
    move(module, part, 0.3)
    attacked = float(plain_loss(module, part).detach())
    assert total == pytest.approx(clean + 0.7 * attacked, rel=1e-6)
    assert attacked > clean


def test_the_gradient_is_that_of_both_losses_with_the_perturbation_held() -> None:
    module, part = learner(), batch()
    parameters = list(module.parameters())

    def gradient(loss: Tensor) -> Tensor:
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([g.flatten() for g in found])

    total = gradient(total_loss(module, part, 0.3, weight=0.7))
    clean = gradient(plain_loss(module, part))
    move(module, part, 0.3)
    expected = clean + 0.7 * gradient(plain_loss(module, part))
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(total, 1.7 * clean, rtol=1e-2)


def test_the_loss_rises_by_length_times_slope_to_first_order() -> None:
    module, part = learner(), batch()
    clean = plain_loss(module, part)
    gradients = torch.autograd.grad(clean, [getattr(module.network, n) for n in PERTURBED])
    slope = sum(
        float((table.norm(dim=1) * gradient.norm(dim=1)).sum())
        for table, gradient in zip(tables(module), gradients, strict=True)
    )
    for epsilon in (1e-3, 1e-4, 1e-5):
        risen = float((total_loss(module, part, epsilon) - 2 * clean).detach())
        assert risen == pytest.approx(epsilon * slope, rel=20 * epsilon)
        assert risen > 0


def test_vectors_move_by_a_share_of_their_length_where_there_is_a_slope() -> None:
    table = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])
    gradient = torch.tensor([[0.0, -1e-9], [0.0, 0.0], [2.0, 2.0]])
    moved = perturbed(table, gradient, 0.2)
    torch.testing.assert_close(moved, torch.tensor([[3.0, 3.0], [1.0, 0.0], [0.0, 0.0]]))


def test_later_draws_are_those_of_a_plain_step() -> None:
    module, part = learner(), batch()
    plain_loss(module, part)
    expected = torch.rand(3)
    total_loss(module, part, 0.3)
    assert torch.equal(torch.rand(3), expected)


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    name = "synthetic:users=150,items=80,ratings=4000,seed=1"
    ratings = load_ratings(name, SourceSettings(download=False))
    split = split_ratings(ratings, "random", 42)

    def fit(folder: str, epochs: int, resume: bool, epsilon: float = 0.2) -> Fitted:
        configuration = load_configuration(
            "proven",
            [f"training.adversarial.epsilon={epsilon}", "training.batch_users=16",
             f"training.max_epochs={epochs}", "network.n_factors=8", "network.hidden_dims=[16]",
             "network.latent_dim=4"],
        )  # fmt: skip
        return choose(
            ratings, split.fit, split.validation, configuration, tmp_path / folder,
            lambda text: None, resume=resume, progress=False, save_every_s=0.0,
        )  # fmt: skip

    fit("broken", 2, resume=False)
    resumed, unbroken = fit("broken", 4, resume=True), fit("unbroken", 4, resume=False)
    for mine, expected in zip(resumed.history, unbroken.history, strict=True):
        assert mine.figures == pytest.approx(expected.figures, abs=1e-6)
    other = fit("other", 4, resume=False, epsilon=1.0)
    assert other.history[-1].figures != pytest.approx(unbroken.history[-1].figures, abs=1e-6)
