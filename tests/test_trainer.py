"""Training: batches hide what they should, choices follow validation, runs can be resumed."""

from __future__ import annotations

import math
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.histories import Histories
from models.networks.architecture import Architecture
from training.config import Configuration, KullbackLeibler, load_configuration
from training.errors import TrainingDiverged
from training.evaluation.calibration import interval_multiplier
from training.evaluation.evaluate import evaluate
from training.evaluation.network_predictor import NetworkPredictor
from training.fitting.batches import DenoisingBatches, FoldBatches
from training.fitting.initial import build_network
from training.fitting.schedules import kl_weight, warmup_factor
from training.fitting.trainer import Fitted, choose, refit
from training.fitting.watch import EpochRecord, Watch
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings
from training.split import Split, split_ratings


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    name = "synthetic:users=150,items=80,ratings=4000,seed=1"
    return load_ratings(name, SourceSettings(download=False))


@pytest.fixture(scope="module")
def split(ratings: Ratings) -> Split:
    return split_ratings(ratings, "random", 42)


def small(**training: object) -> Configuration:
    configuration = load_configuration("proven")
    return configuration.model_copy(
        update={
            "network": Architecture(n_factors=8, hidden_dims=(16,), latent_dim=4, dropout=0.1),
            "training": configuration.training.model_copy(
                update={"batch_users": 16, "max_epochs": 4} | training
            ),
        }
    )


def silent(text: str) -> None:
    pass


def test_every_rating_is_either_encoded_or_scored(ratings: Ratings) -> None:
    histories = ratings.histories()
    batches = DenoisingBatches(histories, 16, (0.2, 0.6), 4.0, seed=0)
    seen = 0
    hidden = 0
    for batch in batches:
        seen += len(batch.items_N) + len(batch.hidden.items_T)
        hidden += len(batch.hidden.items_T)
        encoded = set(zip(batch.rows_N.tolist(), batch.items_N.tolist(), strict=True))
        scored = zip(batch.hidden.rows_T.tolist(), batch.hidden.items_T.tolist(), strict=True)
        assert not encoded & set(scored)
        assert (batch.hidden.liked_T == (batch.hidden.ratings_T >= 4)).all()
    assert seen == len(ratings)
    assert 0.3 < hidden / seen < 0.5


def test_a_pass_depends_on_seed_and_epoch_alone(ratings: Ratings) -> None:
    def items(seed: int, epoch: int) -> list[int]:
        batches = DenoisingBatches(ratings.histories(), 16, (0.2, 0.6), 4.0, seed)
        batches.epoch = epoch
        return [item for batch in batches for item in batch.items_N.tolist()]

    assert items(0, 3) == items(0, 3)
    assert items(0, 3) != items(0, 4)
    assert items(0, 3) != items(1, 3)


def test_fold_batches_encode_visible_and_score_hidden_rows(ratings: Ratings, split: Split) -> None:
    fold = split.validation
    visible = hidden = 0
    for batch in FoldBatches(ratings, fold, 32, 4.0):
        visible += len(batch.items_N)
        hidden += len(batch.hidden.items_T)
    users = np.unique(ratings.users[fold.hidden])
    assert visible == np.isin(ratings.users[fold.visible], users).sum()
    assert hidden == len(fold.hidden)


def test_validation_figures_are_those_of_the_report(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    fitted = choose(ratings, split.fit, split.validation, small(), tmp_path, silent, progress=False)
    figures = fitted.history[fitted.epochs - 1].figures
    scale = (ratings.scale.minimum, ratings.scale.maximum)
    predictor = NetworkPredictor("vae", fitted.network, scale)
    scores = evaluate(predictor, ratings, split.validation, liked_from=4.0, seed=0)
    assert scores.rmse == pytest.approx(figures["validation_rmse"], abs=1e-5)
    assert scores.ndcg_100 == pytest.approx(figures["validation_ndcg"], abs=1e-4)


def test_training_learns_more_than_the_biases(tmp_path: Path) -> None:
    name = "synthetic:users=400,items=150,ratings=16000,seed=1"
    ratings = load_ratings(name, SourceSettings(download=False))
    split = split_ratings(ratings, "random", 42)
    configuration = small(max_epochs=25, kl=KullbackLeibler(weight=1e-4))
    fitted = choose(
        ratings, split.fit, split.validation, configuration, tmp_path, silent, progress=False
    )
    before = NetworkPredictor("start", build_network(ratings, split.fit, configuration), (0.5, 5))
    after = NetworkPredictor("vae", fitted.network, (0.5, 5))
    fold = split.validation
    start = evaluate(before, ratings, fold, liked_from=4.0, seed=0)
    end = evaluate(after, ratings, fold, liked_from=4.0, seed=0)
    assert start.ndcg_100 is not None
    assert end.ndcg_100 is not None
    assert start.rmse is not None
    assert end.rmse is not None
    assert end.rmse < start.rmse
    assert end.ndcg_100 > start.ndcg_100


def test_the_best_epoch_is_the_one_returned(ratings: Ratings, split: Split, tmp_path: Path) -> None:
    for monitor, best in (("rmse", min), ("ndcg", max)):
        fitted = choose(
            ratings, split.fit, split.validation, small(monitor=monitor), tmp_path / monitor,
            silent, progress=False,
        )  # fmt: skip
        values = [record.figures[f"validation_{monitor}"] for record in fitted.history]
        assert values.index(best(values)) + 1 == fitted.epochs


def test_patience_ends_a_run(ratings: Ratings, split: Split, tmp_path: Path) -> None:
    configuration = small(max_epochs=50, patience=1)
    fitted = choose(
        ratings, split.fit, split.validation, configuration, tmp_path, silent, progress=False
    )
    assert len(fitted.history) < 50
    assert len(fitted.history) == fitted.epochs + 1


def test_equal_seeds_give_equal_networks(ratings: Ratings, split: Split) -> None:
    def weights(seed: int) -> torch.Tensor:
        configuration = small(max_epochs=1).model_copy(update={"seed": seed})
        once = Fitted(build_network(ratings, split.fit, configuration), 1, [], [], False)
        fitted = refit(ratings, split.fit, once, configuration, silent, progress=False)
        return fitted.network.item_embedding.detach()

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_a_resumed_run_ends_where_an_unbroken_one_does(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    def fit(folder: Path, epochs: int, resume: bool) -> Fitted:
        return choose(
            ratings, split.fit, split.validation, small(max_epochs=epochs), folder, silent,
            resume=resume, progress=False, save_every_s=0.0,
        )  # fmt: skip

    fit(tmp_path / "broken", 2, resume=False)
    resumed = fit(tmp_path / "broken", 5, resume=True)
    unbroken = fit(tmp_path / "unbroken", 5, resume=False)
    assert [record.epoch for record in resumed.history] == [1, 2, 3, 4, 5]
    for mine, expected in zip(resumed.history, unbroken.history, strict=True):
        assert mine.figures == pytest.approx(expected.figures, abs=1e-6)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_best_epoch_and_a_place_to_resume(
    ratings: Ratings, split: Split, tmp_path: Path, number: signal.Signals
) -> None:
    def signal_once_something_is_kept() -> None:
        while not best.exists():
            patience.wait(0.01)
        os.kill(os.getpid(), number)

    best, patience = tmp_path / "best.ckpt", threading.Event()
    threading.Thread(target=signal_once_something_is_kept, daemon=True).start()
    fitted = choose(
        ratings, split.fit, split.validation, small(max_epochs=500, patience=500), tmp_path, silent,
        progress=False,
    )  # fmt: skip
    assert fitted.interrupted
    assert len(fitted.history) < 500
    assert (tmp_path / "last.ckpt").exists() == (number == signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def rates(**learning_rate: object) -> Configuration:
    base = load_configuration("proven").training.learning_rate
    return small(max_epochs=10, learning_rate=base.model_copy(update=learning_rate))


def test_averaged_weights_are_the_mean_of_the_last_epochs(ratings: Ratings, split: Split) -> None:
    def weights(epochs: int, averaged: bool) -> torch.Tensor:
        configuration = rates(averaging_from=0.7)
        network = build_network(ratings, split.fit, configuration)
        chosen = Fitted(network, epochs, [], [], False, averaged=averaged)
        fitted = refit(ratings, split.fit, chosen, configuration, silent, progress=False)
        return fitted.network.preference_factors.detach()

    last_three = torch.stack([weights(epochs, averaged=False) for epochs in (8, 9, 10)])
    torch.testing.assert_close(weights(10, averaged=True), last_three.mean(0))


def test_the_better_of_average_and_best_epoch_is_kept(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    for rate in (0.02, 1e-6):
        configuration = rates(averaging_from=0.5, initial=rate, warmup_epochs=1)
        fitted = choose(
            ratings, split.fit, split.validation, configuration, tmp_path / str(rate), silent,
            progress=False,
        )  # fmt: skip
        assert len(fitted.history) == 10  # never stopped early
        predictor = NetworkPredictor("vae", fitted.network, (0.5, 5))
        rmse = evaluate(predictor, ratings, split.validation, liked_from=4.0, seed=0).rmse
        best = min(record.figures["validation_rmse"] for record in fitted.history)
        assert rmse is not None
        assert rmse <= best + 1e-6
        if fitted.averaged:
            assert fitted.epochs == 10
            assert rmse < best


def test_a_refit_replays_the_rates_a_plateau_led_to(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    configuration = rates(schedule="plateau", plateau_patience=0, initial=0.02)
    chosen = choose(
        ratings, split.fit, split.validation, configuration, tmp_path, silent, progress=False
    )
    used = [record.figures["learning_rate"] for record in chosen.history]
    assert used[-1] < used[0]
    whole = replace(chosen, epochs=len(used))
    again = refit(ratings, split.fit, whole, configuration, silent, progress=False)
    assert [record.figures["learning_rate"] for record in again.history] == used


def test_warm_up_raises_the_rate_and_one_cycle_lowers_it(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    def used(configuration: Configuration, folder: str) -> list[float]:
        fitted = choose(
            ratings, split.fit, split.validation, configuration, tmp_path / folder, silent,
            progress=False,
        )  # fmt: skip
        return [record.figures["learning_rate"] for record in fitted.history]

    warm = used(rates(warmup_epochs=3, initial=0.003), "warm")
    assert warm[:4] == pytest.approx([0.001, 0.002, 0.003, 0.003])
    cycle = used(rates(schedule="one_cycle", initial=0.003), "cycle")
    assert max(cycle) > 0.002
    assert cycle[-1] < 1e-5


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_best(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    poisoned = ratings.values.copy()
    with pytest.raises(TrainingDiverged, match="epoch 1"):
        poisoned[split.fit[:200]] = 1e30  # its square is beyond float32
        broken = Ratings(**(vars(ratings) | {"values": poisoned}))
        choose(broken, split.fit, split.validation, small(), tmp_path, silent, progress=False)


def watched(*figures: dict[str, float]) -> dict[str, str]:
    watch = Watch(silent)
    for epoch, values in enumerate(figures, start=1):
        watch.record(EpochRecord(epoch, values))
    return watch.warnings


def test_early_warnings_speak_of_what_is_wrong_and_of_nothing_else() -> None:
    good = {"validation_rmse": 0.9, "train_rmse": 0.88, "kl": 1.0, "gradient_norm": 2.0}
    improving = [good | {"validation_rmse": 0.9 - 0.001 * e} for e in range(30)]
    assert watched(*improving) == {}
    assert list(watched(*[good] * 8)) == ["plateau"]
    assert list(watched(*improving[:20], *[improving[19]] * 8)) == []
    assert list(watched(good | {"kl": 0.001})) == ["collapse"]
    assert list(watched(good | {"train_rmse": 0.74})) == ["gap"]
    assert list(watched(good | {"gradient_norm": 11.0})) == ["gradient"]


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_the_watch_stops_at_a_loss_that_is_no_number(loss: float) -> None:
    with pytest.raises(TrainingDiverged, match="epoch 3"):
        Watch(silent).check_finite("The loss", loss, 3)


def test_kl_schedules_rise_to_the_weight_and_stay() -> None:
    constant = KullbackLeibler(weight=0.2)
    linear = KullbackLeibler(weight=0.2, schedule="linear", annealing_epochs=10)
    cosine = KullbackLeibler(weight=0.2, schedule="cosine", annealing_epochs=10)
    assert kl_weight(constant, 0) == 0.2
    assert [kl_weight(linear, e) for e in (0, 5, 10, 50)] == pytest.approx([0, 0.1, 0.2, 0.2])
    assert [kl_weight(cosine, e) for e in (0, 5, 10, 50)] == pytest.approx([0, 0.1, 0.2, 0.2])
    assert kl_weight(cosine, 2) < kl_weight(linear, 2)
    assert [warmup_factor(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warmup_factor(0, 0) == 1


def test_the_interval_multiplier_covers_what_it_should() -> None:
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 2, 50_000).astype(np.float32)
    actual = (spread * rng.standard_normal(50_000)).astype(np.float32)
    predicted = np.zeros_like(actual)
    multiplier = interval_multiplier(actual[:25_000], predicted[:25_000], spread[:25_000], 0.8)
    assert multiplier == pytest.approx(1.2816, abs=0.03)
    covered = np.abs(actual[25_000:]) <= multiplier * spread[25_000:]
    assert covered.mean() == pytest.approx(0.8, abs=0.01)


def test_predictions_do_not_depend_on_the_order_of_rows(ratings: Ratings, split: Split) -> None:
    predictor = NetworkPredictor("vae", build_network(ratings, split.fit, small()).eval(), (0.5, 5))
    histories = Histories.concatenate([ratings.histories(split.fit), Histories.empty(1)])
    rows = np.array([150, 3, 0, 3], np.int64)
    items = np.array([5, 6, 7, 8], np.int64)
    forward, _ = predictor.rate_with_spread(histories, rows, items)
    backward, _ = predictor.rate_with_spread(histories, rows[::-1], items[::-1])
    np.testing.assert_allclose(forward, backward[::-1])
