"""Mixup: what a mixed user is in expectation, and that no pair is told twice or leaks."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from models.histories import Histories
from models.networks.architecture import Architecture
from models.networks.hybrid_vae import HybridVAE
from models.networks.loss import Hidden, Lessons
from tests.small_ratings import random_ratings
from training.config import load_configuration
from training.fitting.batches import Batch, DenoisingBatches
from training.fitting.mixup import mix, mixed
from training.fitting.trainer import Fitted, choose
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings

USERS, ITEMS, TIMES = 4, 12, 4000
PARTNERS, SHARES = np.array([2, 0, 1, 3]), np.array([0.5, 0.2, 0.9, 0.3])


def batch_of(seed: int = 0) -> Batch:
    """Users who share most of their items, hidden here and visible there, with lessons."""
    rng = np.random.default_rng(seed)
    rows, items = np.nonzero(rng.random((USERS, ITEMS)) < 0.7)
    values = rng.integers(1, 6, len(rows)).astype(np.float32)
    hide = rng.random(len(rows)) < 0.4
    r, i, v = (torch.from_numpy(column) for column in (rows, items, values))
    h = torch.from_numpy(hide)
    preference = torch.softmax(torch.from_numpy(rng.normal(size=(USERS, ITEMS))), 1).float()
    taught = torch.from_numpy(rng.normal(3, 1, USERS * 2).astype(np.float32))
    pairs = torch.arange(USERS).repeat(2), torch.from_numpy(rng.integers(0, ITEMS, USERS * 2))
    hidden = Hidden(r[h], i[h], v[h], v[h] >= 4)
    lessons = Lessons(*pairs, taught, preference)
    return Batch(USERS, i[~h], v[~h], r[~h], hidden, torch.arange(USERS), lessons)


def table(rows: Tensor, items: Tensor, values: Tensor) -> NDArray[np.float64]:
    """Sums of the values by user and item."""
    sums = np.zeros((USERS, ITEMS))
    np.add.at(sums, (rows.numpy(), items.numpy()), values.numpy())
    return sums


def tables(batch: Batch) -> NDArray[np.float64]:
    """Counts and sums of ratings of the visible, the hidden, the liked and the taught pairs."""
    hidden, lessons = batch.hidden, batch.lessons
    assert lessons is not None
    columns = [
        (batch.rows_N, batch.items_N, batch.ratings_N),
        (hidden.rows_T, hidden.items_T, hidden.ratings_T),
        (hidden.rows_T, hidden.items_T, hidden.liked_T.float()),
        (lessons.rows_S, lessons.items_S, lessons.ratings_S),
    ]
    sums = [table(*column) for column in columns]
    return np.stack(
        sums + [table(rows, items, torch.ones(len(rows))) for rows, items, _ in columns]
    )


def test_what_is_encoded_scored_and_taught_is_the_mixture_in_expectation() -> None:
    batch, rng = batch_of(), np.random.default_rng(1)
    before = tables(batch)
    draws = np.stack([tables(mix(batch, PARTNERS, SHARES, rng)) for _ in range(TIMES)])
    own = SHARES[:, None]
    expected = own * before + (1 - own) * before[:, PARTNERS]
    error = draws.std(0) / TIMES**0.5
    assert (np.abs(draws.mean(0) - expected) <= 5 * error + 1e-9).all()
    assert (error > 0).any()


def test_the_summed_input_and_the_summed_loss_are_mixtures_in_expectation() -> None:
    torch.manual_seed(0)
    architecture = Architecture(n_factors=3, hidden_dims=(4,), latent_dim=2)
    network = HybridVAE(architecture, ITEMS, torch.arange(1.0, 6.0), 3.0)
    batch, rng = batch_of(), np.random.default_rng(2)
    predicted_I = torch.linspace(1, 5, ITEMS)

    @torch.no_grad()
    def input_and_loss(part: Batch) -> NDArray[np.float64]:
        count_B = torch.bincount(part.rows_N, minlength=USERS)
        summed = network.pool(*part.visible) * torch.sqrt(count_B + 1)[:, None]
        hidden = part.hidden
        error_T = (predicted_I[hidden.items_T] - hidden.ratings_T) ** 2
        loss_B = torch.zeros(USERS).index_add(0, hidden.rows_T, error_T)
        return torch.cat([summed, loss_B[:, None]], 1).double().numpy()

    before, own = input_and_loss(batch), SHARES[:, None]
    draws = np.stack([input_and_loss(mix(batch, PARTNERS, SHARES, rng)) for _ in range(TIMES)])
    error = draws.std(0) / TIMES**0.5
    expected = own * before + (1 - own) * before[PARTNERS]
    assert (np.abs(draws.mean(0) - expected) <= 5 * error + 1e-4).all()


def test_a_pair_both_users_have_comes_once_from_one_of_them() -> None:
    batch, rng = batch_of(), np.random.default_rng(3)
    status = np.full((USERS, ITEMS), -1.0)  # the rating, and 10 more where it is hidden
    status[batch.rows_N, batch.items_N] = batch.ratings_N
    status[batch.hidden.rows_T, batch.hidden.items_T] = batch.hidden.ratings_T + 10
    for _ in range(200):
        result = mix(batch, PARTNERS, SHARES, rng)
        rows = torch.cat([result.rows_N, result.hidden.rows_T]).numpy()
        items = torch.cat([result.items_N, result.hidden.items_T]).numpy()
        found = torch.cat([result.ratings_N, result.hidden.ratings_T + 10]).numpy()
        pairs = set(zip(rows.tolist(), items.tolist(), strict=True))
        assert len(pairs) == len(rows)
        assert ((status[rows, items] == found) | (status[PARTNERS[rows], items] == found)).all()
        both = (status >= 0) & (status[PARTNERS] >= 0)
        assert {(int(b), int(i)) for b, i in zip(*np.nonzero(both), strict=True)} <= pairs


def test_a_teachers_distribution_is_mixed_like_labels() -> None:
    batch = batch_of()
    result = mix(batch, PARTNERS, SHARES, np.random.default_rng(0))
    assert batch.lessons is not None
    assert batch.lessons.preference_BI is not None
    assert result.lessons is not None
    assert result.lessons.preference_BI is not None
    taught, own = batch.lessons.preference_BI.numpy(), SHARES[:, None]
    expected = own * taught + (1 - own) * taught[PARTNERS]
    np.testing.assert_allclose(result.lessons.preference_BI.numpy(), expected, rtol=1e-5)


def test_a_user_mixed_with_nobody_else_stays_the_same() -> None:
    batch = batch_of()
    same = mix(batch, np.arange(USERS), SHARES, np.random.default_rng(0))
    whole = mix(batch, PARTNERS, np.ones(USERS), np.random.default_rng(0))
    swapped = mix(batch, PARTNERS, np.zeros(USERS), np.random.default_rng(0))
    np.testing.assert_array_equal(tables(same), tables(batch))
    np.testing.assert_array_equal(tables(whole), tables(batch))
    np.testing.assert_array_equal(tables(swapped), tables(batch)[:, PARTNERS])


def test_shares_follow_the_beta_distribution() -> None:
    count = 2000
    items = torch.arange(count).repeat(1)
    nothing = Hidden(items[:0], items[:0], torch.zeros(0), torch.zeros(0, dtype=torch.bool))
    many = 300  # entries a user has, of which the kept share tells the mixing share
    rows = torch.arange(count).repeat_interleave(many)
    own_items = torch.arange(count * many)
    batch = Batch(count, own_items, torch.full((count * many,), 3.0), rows, nothing, items)
    result = mixed(batch, 0.7, np.random.default_rng(4))
    own = torch.bincount(result.rows_N[result.items_N // many == result.rows_N], minlength=count)
    kept = own.numpy() / many
    assert stats.kstest(kept, stats.beta(0.7, 0.7).cdf).pvalue > 1e-3
    assert stats.kstest(kept, stats.beta(2.0, 2.0).cdf).pvalue < 1e-6


def columns(batch: Batch) -> list[Tensor]:
    hidden = [getattr(batch.hidden, field.name) for field in fields(Hidden)]
    return [batch.items_N, batch.ratings_N, batch.rows_N, *hidden]


def test_a_mixed_pass_depends_on_seed_and_epoch_alone() -> None:
    histories = random_ratings(40, 30, 0.3, seed=0).histories()

    def first(seed: int, epoch: int, mixup: float = 0.4) -> list[Tensor]:
        batches = DenoisingBatches(histories, 16, (0.2, 0.6), 4.0, seed, mixup=mixup)
        batches.epoch = epoch
        return columns(next(iter(batches)))

    assert all(map(torch.equal, first(0, 3), first(0, 3)))
    assert not all(map(torch.equal, first(0, 3), first(0, 4)))
    assert not all(map(torch.equal, first(0, 3), first(1, 3)))
    assert not all(map(torch.equal, first(0, 3), first(0, 3, mixup=0.0)))


def test_a_resumed_run_with_mixup_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    name = "synthetic:users=150,items=80,ratings=4000,seed=1"
    ratings = load_ratings(name, SourceSettings(download=False))
    split = split_ratings(ratings, "random", 42)

    def fit(folder: Path, epochs: int, resume: bool) -> Fitted:
        configuration = load_configuration(
            "proven",
            ["training.mixup=0.3", "training.batch_users=16", f"training.max_epochs={epochs}",
             "network.n_factors=8", "network.hidden_dims=[16]", "network.latent_dim=4"],
        )  # fmt: skip
        return choose(
            ratings, split.fit, split.validation, configuration, folder, lambda text: None,
            resume=resume, progress=False, save_every_s=0.0,
        )  # fmt: skip

    fit(tmp_path / "broken", 2, resume=False)
    resumed = fit(tmp_path / "broken", 4, resume=True)
    unbroken = fit(tmp_path / "unbroken", 4, resume=False)
    for mine, expected in zip(resumed.history, unbroken.history, strict=True):
        assert mine.figures == pytest.approx(expected.figures, abs=1e-6)


def test_one_user_without_anything_to_hide_can_be_mixed() -> None:
    histories = Histories(np.array([3]), np.array([4.0], np.float32), np.array([0, 1]))
    batches = DenoisingBatches(histories, 16, (0.2, 0.6), 4.0, 0, mixup=1.0)
    (batch,) = batches
    assert len(batch.items_N) + len(batch.hidden.items_T) == 1
