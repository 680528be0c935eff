"""Two processes agree: gradients are those of the whole batch, and what is counted is counted once.

Every test compares what two real processes come to over gloo with what this one does alone.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize

from models.networks.latent import Posterior
from models.networks.loss import Everywhere, Hidden, Lessons
from tests.gloo import in_two
from tests.small_ratings import random_ratings
from tests.small_teacher import svd_teacher
from training.baselines import fit_ease
from training.config import Configuration, load_configuration
from training.fitting.adversarial import adversarial_loss
from training.fitting.batches import Batch, DenoisingBatches
from training.fitting.initial import HeadStart, build_network
from training.fitting.learner import Learner
from training.fitting.negatives import Proposal
from training.fitting.shares import Share, dealt, share_of
from training.fitting.watch import Watch
from training.ratings import Ratings
from training.split import Fold, Rows
from training.teachers.teacher import RankingLessons, RatingLessons, Tutor
from training.world import ALONE, World

SMALL = [
    "network.n_factors=6", "network.hidden_dims=[12]", "network.latent_dim=4",
    "network.dropout=0.0", "training.kl.weight=0.3", "training.factor_penalty=0.1",
]  # fmt: skip
VARIANTS: dict[str, list[str]] = {
    "plain": [],
    # Half of the dimensions are free in the whole batch, all or none of them in a part of it.
    "free bits": ["training.kl.free_bits=8.4"],
    "ordinal, rates alone": ["network.likelihood=ordinal", "training.preference_weight=0.0"],
    "sampled items": ["training.negatives=10"],
    "adversarial": ["training.adversarial={epsilon: 0.2, weight: 1.0}"],
    "taught pairs": ["training.teacher={pairs_per_user: 7, weight: 2.0}"],
    "taught all": [
        "training.teacher={pairs_per_user: all, weight: 2.0}",
        "training.ranking_teacher={weight: 0.5}",
    ],
    "taught the unrated pairs": [
        "training.teacher={pairs_per_user: 7, weight: 2.0, rated_pairs: false}"
    ],
    "taught all unrated": [
        "training.teacher={pairs_per_user: all, weight: 2.0, rated_pairs: false}"
    ],
    "shallow, spectral": ["network.shallow={rank: 5}", "network.spectral_norm=true"],
}
FIRST_HAS = 9
"""Of the users; the other process has the rest, with another number of ratings each."""


def configured(variant: str) -> Configuration:
    return load_configuration("proven", SMALL + VARIANTS[variant])


def small_ratings() -> Ratings:
    return random_ratings(users=31, items=26, share=0.4, seed=3)


def rows_of(ratings: Ratings) -> Rows:
    return np.arange(len(ratings), dtype=np.int64)


def tutor_of(ratings: Ratings, configuration: Configuration) -> Tutor | None:
    wanted, rows = configuration.training, rows_of(ratings)
    if wanted.teacher is None:
        return None
    teacher = svd_teacher(ratings, rows, 4)
    lessons = RatingLessons.of(
        teacher, ratings.histories(), wanted.teacher.pairs_per_user,
        rated_pairs=wanted.teacher.rated_pairs,
    )  # fmt: skip
    ease = fit_ease(ratings, rows, liked_from=4.0)
    return Tutor(lessons, RankingLessons(ease, 6.0) if wanted.ranking_teacher else None)


def whole_batch(variant: str) -> Batch:
    ratings, configuration = small_ratings(), configured(variant)
    draws, histories = configuration.training.negatives, ratings.histories()
    batches = DenoisingBatches(
        histories, 1000, (0.2, 0.6), 4.0, 0, tutor_of(ratings, configuration),
        Proposal.of(histories, len(ratings.catalog), 4.0, draws) if draws else None,
    )  # fmt: skip
    (batch,) = batches
    return batch


def part_of(batch: Batch, users: NDArray[np.int64]) -> Batch:
    """The same batch as if there were only these of its users."""
    kept = torch.from_numpy(users)
    number = torch.full((batch.users,), -1)
    number[kept] = torch.arange(len(kept))
    seen, scored = number[batch.rows_N] >= 0, number[batch.hidden.rows_T] >= 0
    hidden = {f.name: getattr(batch.hidden, f.name)[scored] for f in fields(Hidden)}
    hidden["rows_T"] = number[hidden["rows_T"]]
    lessons = batch.lessons
    if lessons is not None:
        told = number[lessons.rows_S] >= 0
        everywhere, taught_BI = lessons.everywhere, lessons.preference_BI
        lessons = Lessons(
            number[lessons.rows_S[told]], lessons.items_S[told], lessons.ratings_S[told],
            None if taught_BI is None else taught_BI[kept],
            everywhere and part_of_everywhere(everywhere, kept, number),
        )  # fmt: skip
    return Batch(
        len(kept), batch.items_N[seen], batch.ratings_N[seen], number[batch.rows_N[seen]],
        Hidden(**hidden), batch.numbers_B[kept], lessons, batch.negatives,
    )  # fmt: skip


def part_of_everywhere(everywhere: Everywhere, kept: Tensor, number: Tensor) -> Everywhere:
    untaught = everywhere.untaught
    if untaught is not None:
        own = number[untaught[0]] >= 0
        untaught = (number[untaught[0][own]], untaught[1][own])
    return Everywhere(everywhere.ratings_BI[kept], everywhere.weight_I, untaught)


class Objective(nn.Module):
    """The loss of a training step as a module that DDP can wrap; the latent draw is its mean."""

    def __init__(self, variant: str, world: World) -> None:
        super().__init__()
        ratings, configuration = small_ratings(), configured(variant)
        network = build_network(ratings, rows_of(ratings), configuration)
        torch.manual_seed(5)
        for parameter in network.parameters():  # away from the start, where much is 0
            parameter.data += 0.1 * torch.randn_like(parameter)
        self.learner = Learner(network, configuration.training, 10, Watch(print), world)

    def forward(self, batch: Batch) -> Tensor:
        attack = self.learner.settings.adversarial
        with parametrize.cached():
            parts = adversarial_loss(self.learner, batch, attack) if attack else self.learner(batch)
        total: Tensor = parts.total
        return total


def gradients_of(objective: nn.Module, batch: Batch) -> dict[str, Tensor]:
    objective(batch).backward()
    named = objective.named_parameters()
    return {name.removeprefix("module."): p.grad for name, p in named if p.grad is not None}


def mean_of(posterior: Posterior) -> Tensor:
    return posterior.mean_BZ


def gradients_of_share(world: World) -> dict[str, dict[str, Tensor]]:
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Posterior, "sample", mean_of)
        for variant in VARIANTS:
            batch = whole_batch(variant)
            users = np.arange(batch.users)
            own = users[:FIRST_HAS] if world.rank == 0 else users[FIRST_HAS:]
            objective = DistributedDataParallel(Objective(variant, world))
            found[variant] = gradients_of(objective, part_of(batch, own))
    return found


@pytest.fixture(scope="module")
def gradients(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    return in_two(gradients_of_share, tmp_path_factory.mktemp("gradients"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_of_two_processes_is_that_of_the_whole_batch(
    variant: str, gradients: list[dict[str, dict[str, Tensor]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Posterior, "sample", mean_of)
    expected = gradients_of(Objective(variant, ALONE), whole_batch(variant))
    assert any(gradient.abs().max() > 0.01 for gradient in expected.values())
    for found in gradients:
        assert found[variant].keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[variant][name], gradient, atol=1e-5, rtol=1e-4)


def shares_of(variant: str) -> tuple[Share, list[Share]]:
    """All that is known of a fit, and the two parts of it."""
    ratings, configuration = small_ratings(), configured(variant)
    order = np.random.default_rng(0).permutation(len(ratings))
    fit, hidden = np.sort(order[30:]), np.sort(order[:30])
    tutor = tutor_of(ratings, configuration)
    teacher = tutor.ratings.teacher if tutor and tutor.ratings else None
    ahead = HeadStart.of(ratings, fit, configuration, teacher)
    whole = Share(ratings, fit, Fold("validation", fit, hidden), tutor, ahead)
    owner_U = dealt(ratings, fit, whole.fold, 2, seed=1)
    return whole, [share_of(whole, owner_U, rank) for rank in range(2)]


STARTED = ("plain", "ordinal, rates alone", "taught all", "shallow, spectral")


def starts_of_share(world: World) -> list[Any]:
    starts = []
    for variant in STARTED:
        _, shares = shares_of(variant)
        own = shares[world.rank]
        network = build_network(
            own.ratings, own.rows, configured(variant), world=world, ahead=own.ahead
        )
        starts.append(network.state_dict())
    histories = own.ratings.histories(own.rows)
    return [starts, Proposal.of(histories, 26, 4.0, 10, world).expected_I]


def test_networks_start_alike_and_as_in_one_process(tmp_path: Path) -> None:
    for starts, expected_draws_I in in_two(starts_of_share, tmp_path):
        for variant, start in zip(STARTED, starts, strict=True):
            whole, _ = shares_of(variant)
            teacher = whole.tutor.ratings.teacher if whole.tutor and whole.tutor.ratings else None
            alone = build_network(whole.ratings, whole.rows, configured(variant), teacher)
            for name, value in alone.state_dict().items():
                torch.testing.assert_close(start[name], value, atol=1e-6, rtol=1e-6)
        histories = whole.ratings.histories(whole.rows)
        proposal = Proposal.of(histories, 26, 4.0, 10)
        np.testing.assert_array_equal(expected_draws_I, proposal.expected_I)
