"""The pairwise VAE: the notes' shape and settings, how it trains, and whom it knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from models.histories import Histories
from tests.small_ratings import halves, histories_of, random_ratings
from training.baselines import PROVEN, SCALED, PairwiseSettings, PairwiseVAE
from training.baselines.pairwise import PairwiseEpoch
from training.baselines.pairwise_network import PairwiseNetwork
from training.baselines.pairwise_training import fit_pairwise, refit_pairwise
from training.errors import TrainingDiverged
from training.evaluation import metrics
from training.ratings import Ratings

Halves = tuple[NDArray[np.int64], NDArray[np.int64]]
USERS, ITEMS = 60, 40
SMALL = PairwiseSettings(
    n_factors=8,
    hidden_dims=(32, 16),
    latent_dim=8,
    dropout=0.0,
    batch_ratings=64,
    learning_rate=5e-3,
    max_epochs=12,
    patience=12,
)


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(USERS, ITEMS, 0.5, seed=3)


@pytest.fixture(scope="module")
def rows(ratings: Ratings) -> Halves:
    return halves(len(ratings), seed=4)


@pytest.fixture(scope="module")
def model(ratings: Ratings, rows: Halves) -> PairwiseVAE:
    return fit_pairwise(ratings, rows[0], validation=rows[1], settings=SMALL, seed=1)


def small(**changes: object) -> PairwiseSettings:
    return SMALL.model_validate(SMALL.model_dump() | changes)


class TestShape:
    @pytest.mark.parametrize(
        ("settings", "widths"),
        [
            (PROVEN, [(300, 512), (512, 256), (256, 128), (64, 128), (128, 256), (256, 512)]),
            (SCALED, [(400, 640), (640, 384), (384, 192), (80, 192), (192, 384), (384, 640)]),
        ],
    )
    def test_is_the_one_of_the_notes(
        self, settings: PairwiseSettings, widths: list[tuple[int, int]]
    ) -> None:
        network = PairwiseNetwork(5, 7, 3.5, settings)
        layers = [*network.encoder, *network.decoder]
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        assert [(layer.in_features, layer.out_features) for layer in linear] == widths
        assert {layer.p for layer in layers if isinstance(layer, nn.Dropout)} == {settings.dropout}
        for head in (network.to_mean, network.to_log_variance):
            assert (head.in_features, head.out_features) == (widths[2][1], settings.latent_dim)
        assert network.to_rating.out_features == 1

    def test_settings_are_those_of_the_notes(self) -> None:
        assert (PROVEN.batch_ratings, PROVEN.learning_rate, PROVEN.kl.weight) == (2048, 5e-4, 0.01)
        assert (PROVEN.dropout, PROVEN.patience, PROVEN.max_epochs) == (0.4, 15, 100)
        assert (SCALED.dropout, SCALED.learning_rate, SCALED.kl.weight) == (0.38, 4e-4, 0.008)
        assert (SCALED.kl.schedule, SCALED.kl.free_bits) == ("cosine", 2.0)
        assert (SCALED.warmup_epochs, SCALED.first_averaged_epoch) == (5, 81)
        assert SCALED.reduce_on_plateau and not PROVEN.reduce_on_plateau

    def test_the_latent_is_drawn_in_training_only(self) -> None:
        network = PairwiseNetwork(5, 7, 3.5, SMALL)
        users_TF, items_TF = network.users.weight[:3], network.items.weight[:3]
        drawn = [network(users_TF, items_TF)[0] for _ in range(2)]
        network.eval()
        fixed = [network(users_TF, items_TF)[0] for _ in range(2)]
        assert not torch.equal(*drawn) and torch.equal(*fixed)


class TestTraining:
    def test_learns_more_than_the_mean(
        self,
        model: PairwiseVAE,
        ratings: Ratings,
        rows: Halves,
    ) -> None:
        actual = ratings.values[rows[1]]
        mean = np.full(len(actual), ratings.values[rows[0]].mean())
        rated = rate_rows(model, ratings, rows[1])
        assert metrics.rmse(actual, rated) < 0.85 * metrics.rmse(actual, mean)

    def test_ships_the_best_epoch_on_validation(
        self,
        model: PairwiseVAE,
        ratings: Ratings,
        rows: Halves,
    ) -> None:
        rmses = [epoch.validation_rmse for epoch in model.epochs]
        assert model.best_epoch == 1 + int(np.argmin(np.array(rmses, float)))
        who, what = ratings.users[rows[1]], ratings.items[rows[1]]
        rated = model.tables.rate(torch.from_numpy(who).long(), torch.from_numpy(what).long())
        found = metrics.rmse(ratings.values[rows[1]], rated.numpy())
        assert found == pytest.approx(rmses[model.best_epoch - 1])

    def test_stops_when_patience_ends(self, ratings: Ratings, rows: Halves) -> None:
        settings = small(max_epochs=60, patience=2, learning_rate=0.03)
        model = fit_pairwise(ratings, rows[0], validation=rows[1], settings=settings)
        assert len(model.epochs) == model.best_epoch + 2 < 60

    def test_averaging_begins_before_patience_may_end_the_run(
        self, ratings: Ratings, rows: Halves
    ) -> None:
        settings = small(max_epochs=30, patience=2, learning_rate=0.03, averaging_from=0.8)
        model = fit_pairwise(ratings, rows[0], validation=rows[1], settings=settings)
        assert len(model.epochs) >= 25
        started = [epoch.epoch for epoch in model.epochs if epoch.averaged_rmse is not None]
        assert started[0] == 25
        figures = [(e.validation_rmse, e.averaged_rmse) for e in model.epochs]
        best = min(value for pair in figures for value in pair if value is not None)
        assert best in figures[model.best_epoch - 1]
        assert model.averaged == (figures[model.best_epoch - 1][1] == best)

    def test_the_average_is_the_mean_of_the_epochs_weights(
        self, ratings: Ratings, rows: Halves
    ) -> None:
        def last(epochs: int) -> torch.Tensor:
            # Without validation the last weights are kept, and shorter runs are beginnings.
            model = fit_pairwise(ratings, rows[0], settings=small(max_epochs=epochs))
            return model.tables.network.items.weight.detach()

        averaged = fit_pairwise(
            ratings, rows[0], settings=small(max_epochs=4, averaging_from=0.5)
        ).tables.network.items.weight.detach()
        torch.testing.assert_close(averaged, (last(3) + last(4)) / 2)

    def test_rate_warms_up_and_halves_on_a_plateau(self, ratings: Ratings, rows: Halves) -> None:
        settings = small(
            learning_rate=0.03,
            warmup_epochs=2,
            reduce_on_plateau=True,
            plateau_patience=1,
            max_epochs=30,
            patience=30,
        )
        model = fit_pairwise(ratings, rows[0], validation=rows[1], settings=settings)
        rates = [epoch.learning_rate for epoch in model.epochs]
        assert rates[0] < rates[1] == 0.03  # the rate of an epoch is the one it ends with
        assert set(np.diff(np.log2(rates[1:])).round(9)) <= {0.0, -1.0}
        assert rates[-1] < 0.03

    def test_a_larger_kl_weight_gives_a_smaller_kl(self, ratings: Ratings, rows: Halves) -> None:
        kls = []
        for weight in (0.0, 5.0):
            settings = small(kl={"weight": weight}, max_epochs=4)
            kls.append(fit_pairwise(ratings, rows[0], settings=settings).epochs[-1].kl)
        assert kls[1] < 0.2 * kls[0]

    def test_free_bits_cost_nothing(self, ratings: Ratings, rows: Halves) -> None:
        free = small(kl={"weight": 5.0, "free_bits": 1e6}, max_epochs=2)
        none = small(kl={"weight": 0.0}, max_epochs=2)
        first, second = (fit_pairwise(ratings, rows[0], settings=s) for s in (free, none))
        assert first.epochs == second.epochs

    def test_seconds_end_a_run_within_an_epoch(self, ratings: Ratings, rows: Halves) -> None:
        ticks = count()  # a clock on which reading it takes a second
        model = fit_pairwise(
            ratings,
            rows[0],
            validation=rows[1],
            settings=small(max_seconds=5),
            clock=lambda: float(next(ticks)),
        )
        assert len(model.epochs) == 1
        assert np.isfinite(rate_rows(model, ratings, rows[1])).all()

    def test_every_epoch_is_told(self, ratings: Ratings, rows: Halves) -> None:
        told: list[PairwiseEpoch] = []
        model = fit_pairwise(ratings, rows[0], settings=small(max_epochs=3), on_epoch=told.append)
        assert tuple(told) == model.epochs
        assert [epoch.epoch for epoch in told] == [1, 2, 3]

    def test_divergence_is_told_in_a_sentence(self, ratings: Ratings, rows: Halves) -> None:
        with pytest.raises(TrainingDiverged, match="epoch 1; lower its learning rate"):
            fit_pairwise(ratings, rows[0], settings=small(learning_rate=1e12))

    def test_seeds_decide_and_the_callers_generator_is_left_alone(
        self,
        model: PairwiseVAE,
        ratings: Ratings,
        rows: Halves,
    ) -> None:
        before = torch.random.get_rng_state()
        other = fit_pairwise(ratings, rows[0], validation=rows[1], settings=SMALL, seed=2)
        assert torch.equal(before, torch.random.get_rng_state())
        torch.manual_seed(99)
        same = fit_pairwise(ratings, rows[0], validation=rows[1], settings=SMALL, seed=1)
        assert same.epochs == model.epochs != other.epochs


class TestRefit:
    @pytest.mark.parametrize("averaging_from", [None, 0.5])
    def test_on_the_same_rows_it_is_the_chosen_model(
        self,
        averaging_from: float | None,
        ratings: Ratings,
        rows: Halves,
    ) -> None:
        settings = small(
            averaging_from=averaging_from,
            reduce_on_plateau=True,
            plateau_patience=0,
            warmup_epochs=2,
            learning_rate=0.04,
        )
        # Without validation the average is what is chosen, whatever it is worth.
        validation = rows[1] if averaging_from is None else None
        chosen = fit_pairwise(ratings, rows[0], validation=validation, settings=settings, seed=6)
        again = refit_pairwise(chosen, ratings, rows[0], seed=6)
        assert chosen.averaged == (averaging_from is not None)
        assert again.best_epoch == chosen.best_epoch == len(again.epochs)
        assert again.averaged == chosen.averaged
        rates = [epoch.learning_rate for epoch in again.epochs]
        assert rates == [epoch.learning_rate for epoch in chosen.epochs[: len(rates)]]
        if validation is not None:
            assert rates[-1] < settings.learning_rate  # a plateau was met and is replayed
        np.testing.assert_array_equal(
            rate_rows(again, ratings, rows[1]), rate_rows(chosen, ratings, rows[1])
        )


class TestWhomItKnows:
    def test_a_stranger_has_the_mean_user_embedding(
        self,
        model: PairwiseVAE,
        ratings: Ratings,
        rows: Halves,
    ) -> None:
        network = model.tables.network
        known = torch.from_numpy(np.unique(ratings.users[rows[0]])).long()
        mean_TF = network.users.weight[known].mean(0).repeat(3, 1)
        items = np.array([0, 5, 11])
        with torch.no_grad():
            expected = network(mean_TF, network.items.weight[torch.from_numpy(items)])[0]
        rated = model.rate(histories_of({2: 5.0}), np.zeros(3, np.int64), items)
        np.testing.assert_allclose(rated, expected.clip(1, 5).numpy(), atol=1e-5)

    def test_an_item_without_rows_has_the_mean_item_embedding(
        self,
        model: PairwiseVAE,
        ratings: Ratings,
        rows: Halves,
    ) -> None:
        network = model.tables.network
        known = torch.from_numpy(np.unique(ratings.items[rows[0]])).long()
        mean_TF = network.items.weight[known].mean(0, keepdim=True)
        with torch.no_grad():
            expected = float(network(network.users.weight[:1], mean_TF)[0])
        scores = model.for_users(np.array([0])).score(Histories.empty(1))
        assert scores[0, ITEMS - 1] == pytest.approx(expected, abs=1e-5)

    def test_known_users_differ_and_strangers_do_not(self, model: PairwiseVAE) -> None:
        nobody = Histories.empty(3)
        known = model.for_users(np.array([0, 1, USERS - 1])).score(nobody)
        strangers = model.score(nobody)
        assert not np.allclose(known[0], known[1])
        np.testing.assert_array_equal(known[2], strangers[0])  # a user without a row
        np.testing.assert_array_equal(strangers[0], strangers[2])

    def test_score_is_the_rating_before_clipping(self, model: PairwiseVAE) -> None:
        users = np.array([4, 9, 4])
        who, what = (grid.ravel() for grid in np.indices((3, ITEMS)))
        batch = model.for_users(users)
        scores = batch.score(Histories.empty(3))
        rated = batch.rate(Histories.empty(3), who, what).reshape(3, ITEMS)
        np.testing.assert_allclose(np.clip(scores, 1, 5), rated, atol=1e-5)

    def test_pairs_are_rated_in_bounded_batches(
        self, model: PairwiseVAE, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = model.for_users(np.arange(USERS)).score(Histories.empty(USERS))
        monkeypatch.setattr("training.baselines.pairwise.PAIRS_PER_BATCH", 7)
        with batch_sizes(model.tables.network) as seen:
            parts = model.for_users(np.arange(USERS)).score(Histories.empty(USERS))
        assert max(seen) == 7
        np.testing.assert_allclose(parts, whole, atol=1e-5)


@contextmanager
def batch_sizes(network: nn.Module) -> Iterator[list[int]]:
    """Collects the sizes of the batches the network is called with."""
    sizes: list[int] = []
    hook = network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    yield sizes
    hook.remove()


def rate_rows(model: PairwiseVAE, ratings: Ratings, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Ratings of the given rows, by users it is told of."""
    users = np.arange(USERS)
    return model.for_users(users).rate(
        Histories.empty(USERS),
        ratings.users[rows].astype(np.int64),
        ratings.items[rows].astype(np.int64),
    )
