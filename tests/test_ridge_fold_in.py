"""The member folded in by a closed form: its algebra, its prior, its spread, its graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.histories import Histories
from models.manifest import RatingScale
from models.networks.ridge_fold_in import RidgeFoldIn, RidgeWeights
from tests.small_ratings import random_ratings
from tests.small_teacher import svd_teacher
from training.baselines import fit_bias
from training.ensembles.ridge_fold_in import (
    NOISES,
    Noise,
    Prior,
    choose_noise,
    fit_prior,
    ridge_weights,
)
from training.errors import ConfigurationError
from training.evaluation.metrics import rmse
from training.evaluation.network_predictor import RaterPredictor
from training.ratings import Ratings
from training.split import Split, split_ratings
from training.teachers.teacher import Teacher

ITEMS, FACTORS = 2500, 40
SCALE = RatingScale(minimum=1.0, maximum=5.0, step=1.0)
EXACT = 1e-4  # ratings of the unrolled solver from those of a direct one
WIDE = (-99.0, 99.0)


def weights_of(items: int, factors: int, noise: float = 0.5) -> RidgeWeights:
    """Weights as lopsided as real ones: a long tail of directions, few of them strong."""
    rng = np.random.default_rng(0)
    scales = 0.4 * (1 + np.arange(factors)) ** -0.7
    item_factors = rng.normal(size=(items, factors)) * scales
    item_factors[:, 0] = 0.35 + 0.02 * rng.normal(size=items)  # the user's bias
    gram = item_factors.T @ item_factors / items
    values, vectors = np.linalg.eigh(gram)

    def tensor(value: object) -> torch.Tensor:
        return torch.tensor(np.asarray(value, np.float32))

    return RidgeWeights(
        mean=tensor(3.5),
        item_bias=tensor(rng.normal(0, 0.5, items)),
        item_factors=tensor(item_factors @ vectors),
        implicit_factors=tensor(rng.normal(0, 0.1, (items, factors))),
        curvature=tensor(values.clip(0)),
        noise=tensor(noise),
        shrink=tensor(0.9),
        surprise=tensor(0.8),
        item_spread=tensor(rng.uniform(0.8, 1.2, items)),
    )


def histories_of_lengths(*lengths: int) -> Histories:
    rng = np.random.default_rng(1)
    items = [rng.permutation(ITEMS)[:length] for length in lengths]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ratings = rng.choice(SCALE.levels, offsets[-1])
    return Histories(np.concatenate(items).astype(np.int64), ratings, offsets)


def rated_directly(weights: RidgeWeights, items: np.ndarray, ratings: np.ndarray) -> np.ndarray:
    """Every item's rating for one history, by numpy.linalg.solve in float64."""
    w = {name: value.double().numpy() for name, value in vars(weights).items()}
    prior = w["implicit_factors"][items].sum(0) / np.sqrt(max(len(items), 1))
    design = w["item_factors"][items]
    left = ratings - w["mean"] - w["item_bias"][items] - design @ prior
    system = design.T @ design + w["noise"] * np.eye(design.shape[1])
    vector = prior + w["shrink"] * np.linalg.solve(system, design.T @ left)
    rated: np.ndarray = w["mean"] + w["item_bias"] + w["item_factors"] @ vector
    return rated


def test_the_unrolled_solver_agrees_with_a_direct_one_at_every_length() -> None:
    weights = weights_of(ITEMS, FACTORS)
    histories = histories_of_lengths(0, 1, 20, 0, 300, 2000, 1)
    predictor = RaterPredictor("ridge", RidgeFoldIn(weights), WIDE)
    for row in range(len(histories)):
        rows, items = np.full(ITEMS, row), np.arange(ITEMS)
        found = predictor.rate(histories, rows, items)
        expected = rated_directly(weights, *histories.of(row))
        assert np.abs(found - expected).max() < EXACT, f"{histories.lengths[row]} ratings"


def test_items_nobody_expects_together_are_solved_as_well() -> None:
    weights = weights_of(ITEMS, FACTORS)
    strongest = torch.argsort(weights.item_factors[:, -2].abs(), descending=True)[:500].numpy()
    histories = Histories(strongest, np.full(500, 5, np.float32), np.array([0, 500]))
    found = RaterPredictor("ridge", RidgeFoldIn(weights), WIDE).rate(
        histories, np.zeros(ITEMS, np.int64), np.arange(ITEMS)
    )
    expected = rated_directly(weights, strongest, histories.ratings)
    assert np.abs(found - expected).max() < 10 * EXACT


def test_a_spread_is_the_users_surprise_times_the_items() -> None:
    weights = weights_of(ITEMS, FACTORS)
    histories = histories_of_lengths(0, 30)
    rows, items = np.repeat([0, 1], ITEMS), np.tile(np.arange(ITEMS), 2)
    _, spread = RaterPredictor("ridge", RidgeFoldIn(weights), WIDE).rate_with_spread(
        histories, rows, items
    )
    mine, given = histories.of(1)
    left = given - rated_directly(weights, mine, given)[mine]
    own = np.sqrt((np.sum(left**2) + 20 * 0.8**2) / (30 + 20))
    relative = weights.item_spread.numpy()
    np.testing.assert_allclose(spread[:ITEMS], 0.8 * relative, rtol=1e-5)
    np.testing.assert_allclose(spread[ITEMS:], own * relative, rtol=1e-4)


# What is fitted


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(150, 60, 0.3, seed=5)


@pytest.fixture(scope="module")
def split(ratings: Ratings) -> Split:
    return split_ratings(ratings, "random", 42)


@pytest.fixture(scope="module")
def teacher(ratings: Ratings, split: Split) -> Teacher:
    return svd_teacher(ratings, split.fit, rank=6)


@pytest.fixture(scope="module")
def prior(ratings: Ratings, split: Split, teacher: Teacher) -> Prior:
    return fit_prior(teacher, ratings.histories(split.fit), implicit_ridge=2.0)


def posterior_by_covariance(
    teacher: Teacher, histories: Histories, ridge: float, variance: float, user: int
) -> np.ndarray:
    """Every item's rating for a training user, from covariances of ratings, without whitening.

    The prior comes from loops that leave one user out at a time.
    """
    known = np.flatnonzero(histories.lengths)
    rated = np.zeros((len(known), len(teacher.item_bias)))
    for row, one in enumerate(known.tolist()):
        rated[row, histories.of(one)[0]] = 1 / np.sqrt(histories.lengths[one])
    vectors = np.column_stack([teacher.user_factors, teacher.user_bias])[known].astype(float)
    factors = np.column_stack([teacher.item_factors, np.ones(len(teacher.item_bias))])
    centre = vectors.mean(0)

    def implicit(rows: np.ndarray) -> np.ndarray:
        gram = rated[rows].T @ rated[rows] + ridge * np.eye(rated.shape[1])
        solved: np.ndarray = np.linalg.solve(gram, rated[rows].T @ (vectors[rows] - centre))
        return solved

    everybody = np.arange(len(known))
    left = np.array(
        [
            vectors[one] - centre - rated[one] @ implicit(everybody[everybody != one])
            for one in everybody
        ]
    )
    covariance = factors @ np.cov(left.T) @ factors.T
    expected = (
        teacher.mean
        + teacher.item_bias
        + factors @ (centre + rated[np.searchsorted(known, user)] @ implicit(everybody))
    )
    items, given = histories.of(user)
    noisy = covariance[np.ix_(items, items)] + variance * np.eye(len(items))
    rating: np.ndarray = expected + covariance[:, items] @ np.linalg.solve(
        noisy, given - expected[items]
    )
    return rating


def test_fold_in_is_the_posterior_under_the_leave_one_out_prior(
    ratings: Ratings, split: Split, teacher: Teacher, prior: Prior
) -> None:
    histories = ratings.histories(split.fit)
    means, (steps,) = prior.fold_in(histories, [0.7])
    fixed = prior.mean + prior.item_bias
    for user in (0, 3, 70):
        expected = posterior_by_covariance(teacher, histories, 2.0, 0.7 * prior.error, user)
        found = fixed + prior.item_factors @ (means[user] + steps[user])
        np.testing.assert_allclose(found, expected, atol=1e-4)
    counts = np.bincount(histories.items, minlength=len(teacher.item_bias))
    gram = (prior.item_factors * counts[:, None]).T @ prior.item_factors / counts.sum()
    np.testing.assert_allclose(gram, np.diag(prior.curvature), atol=1e-9)


def test_the_chosen_noise_and_shrink_rate_validation_best(
    ratings: Ratings, split: Split, prior: Prior
) -> None:
    visible = ratings.histories(split.validation.visible)
    hidden = ratings.histories(split.validation.hidden)

    def error(noise: float, shrink: float) -> float:
        means, (steps,) = prior.fold_in(visible, [noise])
        return float(np.mean(prior.left_by(means + shrink * steps, hidden) ** 2))

    chosen = choose_noise(prior, visible, hidden)
    others = [error(noise, shrink) for noise in NOISES for shrink in (0.5, 0.8, 0.95, 1.0, 1.1)]
    assert error(chosen.variance, chosen.shrink) <= min(others) + 1e-9


def test_the_network_rates_unseen_ratings_better_than_biases_do(
    ratings: Ratings, split: Split, prior: Prior
) -> None:
    fitted = ratings.histories(split.fit)
    hidden = ratings.histories(split.tests[0].hidden)
    network = RidgeFoldIn(ridge_weights(prior, Noise(1.0, 1.0), fitted))
    rated, spread = RaterPredictor("ridge", network, (1, 5)).rate_with_spread(
        fitted, hidden.rows, hidden.items
    )
    bias = fit_bias(ratings, split.fit).rate(fitted, hidden.rows, hidden.items)
    assert rmse(hidden.ratings, rated) < 0.95 * rmse(hidden.ratings, bias)
    left = fitted.ratings - RaterPredictor("ridge", network, WIDE).rate(
        fitted, fitted.rows, fitted.items
    )
    assert float(network.surprise) == pytest.approx(np.sqrt(np.mean(left**2)), rel=1e-4)
    assert spread.min() > 0


def test_too_many_items_are_refused_in_one_sentence(
    teacher: Teacher, ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.ensembles.ridge_fold_in.MAX_ITEMS", 59)
    with pytest.raises(ConfigurationError, match="60; leave the member out"):
        fit_prior(teacher, ratings.histories(), 2.0)
