"""Effects of time: planted drift is found on fitted rows, and targets are told as of their end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.small_ratings import random_ratings, ratings_of
from training.baselines.bias import ITEM_RIDGE, USER_RIDGE, fit_bias
from training.baselines.rows import fitted_rows
from training.config import TimeEffects, load_configuration
from training.errors import ConfigurationError
from training.fitting.batches import DenoisingBatches
from training.fitting.initial import build_network
from training.fitting.time_effects import DAY_S, Effect, effects_of, fit_in_turn, ratings_as_of
from training.fitting.trainer import choose
from training.ratings import Ratings
from training.split import split_ratings

YEAR_S = 365 * DAY_S
ALL = TimeEffects(periods=8, ridge=1.0)


def only(*effects: str, **settings: object) -> TimeEffects:
    return TimeEffects.model_validate({"effects": effects, "periods": 8, "ridge": 5.0} | settings)


def drifting(users: int = 250, items: int = 40) -> tuple[Ratings, NDArray[np.float64]]:
    """Half of all pairs, rated over four years in which every item drifts by 1.5 stars up or down.

    Also gives each item's level at the end.
    """
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((users, items)) < 0.5)
    times = rng.integers(0, 4 * YEAR_S, len(user))
    slope = rng.choice([-1.5, 1.5], items)
    bias = rng.normal(0, 0.4, items)
    level = 3.0 + bias[item] + slope[item] * (times / (4 * YEAR_S) - 0.5)
    values = level + rng.normal(0, 0.3, users)[user] + rng.normal(0, 0.3, len(user))
    ratings = ratings_of(user, item, values, user_count=users, item_count=items)
    return replace(ratings, times=times), 3.0 + bias + slope / 2


def everything(ratings: Ratings) -> NDArray[np.int64]:
    return np.arange(len(ratings), dtype=np.int64)


def test_planted_drift_is_found_and_targets_are_those_of_the_last_moment() -> None:
    ratings, at_the_end = drifting()
    told = ratings_as_of(ratings, everything(ratings), ALL)
    before, after = (fit_bias(part, everything(part)) for part in (ratings, told))
    error_before = np.abs(before.mean + before.item_biases - at_the_end)
    error_after = np.abs(after.mean + after.item_biases - at_the_end)
    assert error_before.mean() > 0.6
    assert error_after.mean() < 0.2
    residual = told.values - after.mean - after.item_biases[told.items]
    assert np.std(residual) < 0.75 * np.std(
        ratings.values - before.mean - before.item_biases[ratings.items]
    )


def test_the_drift_of_all_ratings_and_of_age_is_found() -> None:
    ratings, _ = drifting()
    assert ratings.times is not None
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.2, len(ratings)).astype(np.float32)
    risen = ratings.times >= 2 * YEAR_S
    step = replace(ratings, values=3 + risen.astype(np.float32) + noise)
    told = ratings_as_of(step, everything(step), only("period"))
    change = told.values - step.values
    assert change[risen].mean() == pytest.approx(0, abs=0.03)
    assert change[~risen].mean() == pytest.approx(1, abs=0.03)
    starts = rng.integers(0, YEAR_S, len(ratings.catalog))
    times = starts[ratings.items] + rng.integers(0, 300 * DAY_S, len(ratings))
    age_days = (times - starts[ratings.items]) / DAY_S
    fading = replace(ratings, times=times, values=4 - (age_days > 32).astype(np.float32) + noise)
    told = ratings_as_of(fading, everything(fading), only("age"))
    change = told.values - fading.values
    assert change[age_days > 70].mean() == pytest.approx(0, abs=0.05)
    assert change[age_days < 25].mean() == pytest.approx(-1, abs=0.15)


def test_terms_fitted_in_turn_are_the_joint_ridge_solution() -> None:
    ratings = random_ratings(12, 8, 0.7, seed=0)
    rng = np.random.default_rng(0)
    times = rng.integers(0, YEAR_S, len(ratings))
    fitted = fitted_rows(ratings, everything(ratings))
    terms = [
        Effect(fitted.users, USER_RIDGE),
        Effect(fitted.items, ITEM_RIDGE),
        *effects_of(fitted, times, only("period", "user", periods=3)),
    ]
    target = fitted.values - fitted.mean
    blocks, ridges = [], []
    for term in terms:
        groups = term.groups_N.max() + 1
        blocks.append(
            (term.groups_N[:, None] == np.arange(groups)) * np.reshape(term.slope_N, (-1, 1))
        )
        ridges += [term.ridge] * groups
    design = np.hstack(blocks)
    exact = np.linalg.solve(design.T @ design + np.diag(ridges), design.T @ target)
    np.testing.assert_allclose(np.concatenate(fit_in_turn(target, terms)), exact, atol=2e-3)


def test_what_holds_at_the_last_moment_is_the_effect_there() -> None:
    ratings, _ = drifting()
    assert ratings.times is not None
    told = ratings_as_of(ratings, everything(ratings), only("period", "item"))
    change = told.values - ratings.values
    late = ratings.times >= np.quantile(ratings.times, 7 / 8)
    np.testing.assert_array_equal(change[late], 0)
    assert (change[~late] != 0).mean() > 0.99
    # One item, one period: one and the same change, whoever rated.
    early = ratings.times < np.quantile(ratings.times, 1 / 8)
    for item in range(3):
        same = change[early & (ratings.items == item)]
        assert np.ptp(same) < 1e-5


def test_a_users_own_drift_keeps_the_users_mean() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(30), 20)
    times = rng.integers(0, YEAR_S, len(users))
    sign = np.where(np.arange(30) % 2 == 0, 1.0, -1.0)[users]
    values = 3 + sign * (times / YEAR_S - 0.5) * 2 + 0.01 * rng.normal(size=len(users))
    ratings = ratings_of(users, np.tile(np.arange(20), 30), values, user_count=30, item_count=20)
    ratings = replace(ratings, times=times)
    told = ratings_as_of(ratings, everything(ratings), only("user", "day", ridge=1.0))
    mean_before = np.bincount(users, ratings.values) / 20
    mean_after = np.bincount(users, told.values) / 20
    np.testing.assert_allclose(mean_after, mean_before, atol=1e-5)
    around = [np.var(part.values - mean_before[users]) for part in (told, ratings)]
    assert around[0] < 0.3 * around[1]


def test_a_user_who_rated_on_one_day_loses_nothing() -> None:
    ratings = random_ratings(20, 15, 0.6, seed=0)
    day = np.random.default_rng(0).integers(0, 300, 20) * DAY_S
    ratings = replace(ratings, times=day[ratings.users])
    told = ratings_as_of(ratings, everything(ratings), only("user", "day"))
    np.testing.assert_allclose(told.values, ratings.values, atol=1e-5)


def test_fitted_rows_alone_are_seen_and_told_anew() -> None:
    ratings, _ = drifting()
    assert ratings.times is not None
    rows = np.sort(np.random.default_rng(0).permutation(len(ratings))[:3000])
    told = ratings_as_of(ratings, rows, ALL)
    others = np.setdiff1d(everything(ratings), rows)
    np.testing.assert_array_equal(told.values[others], ratings.values[others])
    values, times = ratings.values.copy(), ratings.times.copy()
    values[others], times[others] = 1.0, 9 * YEAR_S
    changed = ratings_as_of(replace(ratings, values=values, times=times), rows, ALL)
    np.testing.assert_array_equal(changed.values[rows], told.values[rows])


def test_batches_score_told_ratings_and_encode_and_like_given_ones() -> None:
    ratings, _ = drifting(60, 20)
    rows = everything(ratings)
    told = ratings_as_of(ratings, rows, ALL)
    batches = DenoisingBatches(
        ratings.histories(rows), 16, (0.3, 0.5), 4.0, 0, targets=told.histories(rows)
    )
    pairs = zip(ratings.users.tolist(), ratings.items.tolist(), strict=True)
    row_of = {pair: row for row, pair in enumerate(pairs)}
    users = np.array([7, 3, 50])
    batch = batches.batch(users, np.random.default_rng(0))

    def rows_of(rows: NDArray[np.int64], items: NDArray[np.int64]) -> list[int]:
        return [row_of[int(users[b]), int(i)] for b, i in zip(rows, items, strict=True)]

    hidden = batch.hidden
    scored = rows_of(hidden.rows_T.numpy(), hidden.items_T.numpy())
    encoded = rows_of(batch.rows_N.numpy(), batch.items_N.numpy())
    np.testing.assert_array_equal(hidden.ratings_T, told.values[scored])
    np.testing.assert_array_equal(hidden.liked_T, ratings.values[scored] >= 4)
    np.testing.assert_array_equal(batch.ratings_N, ratings.values[encoded])


def test_a_network_predicts_the_future_better_for_it(tmp_path: Path) -> None:
    ratings, _ = drifting()
    split = split_ratings(ratings, "temporal", 42)
    small = ["network.n_factors=8", "network.hidden_dims=[16]", "network.latent_dim=4",
             "training.batch_users=16", "training.max_epochs=4"]  # fmt: skip

    def validation_rmse(name: str, *overrides: str) -> float:
        configuration = load_configuration("proven", [*small, *overrides])
        fitted = choose(
            ratings, split.fit, split.validation, configuration, tmp_path / name,
            lambda text: None, progress=False,
        )  # fmt: skip
        return min(record.figures["validation_rmse"] for record in fitted.history)

    plain = validation_rmse("plain")
    timed = validation_rmse("timed", "training.time_effects={periods: 8, ridge: 5}")
    assert timed < 0.8 * plain


def test_the_network_starts_at_the_last_moment_and_has_no_part_for_time() -> None:
    ratings, at_the_end = drifting()
    rows = everything(ratings)
    small = ["network.n_factors=4", "network.hidden_dims=[8]", "network.latent_dim=2"]
    timed = ["training.time_effects={periods: 8, ridge: 1}"]
    plain, dated = (
        build_network(ratings, rows, load_configuration("proven", small + more))
        for more in ([], timed)
    )
    assert plain.state_dict().keys() == dated.state_dict().keys()
    start = (dated.rating_mean + dated.rating_bias).detach().numpy()
    assert np.abs(start - at_the_end).mean() < 0.2


def test_ratings_without_dates_are_refused_in_one_sentence() -> None:
    ratings = random_ratings(20, 15, 0.5, seed=0)
    assert ratings_as_of(ratings, everything(ratings), None) is ratings
    with pytest.raises(ConfigurationError, match="needs dates") as caught:
        ratings_as_of(ratings, everything(ratings), ALL)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="ordinal"):
        load_configuration("proven", ["network.likelihood=ordinal", "training.time_effects={}"])
