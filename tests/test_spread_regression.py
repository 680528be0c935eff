"""Regressed spreads: facts against loops, weights against what made the data, coverage, export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from models.networks.conditional_spread import (
    BIAS_RIDGE,
    VARIANCE_RIDGE,
    ItemFacts,
)
from models.networks.hybrid_vae import HybridVAE
from tests.parity import check_exported, random_histories
from tests.test_run import DATA, MODEL, SMALL, report_of
from tests.tiny import tiny_ratings
from training.__main__ import main
from training.baselines import fit_bias
from training.config import Configuration, Evaluation
from training.evaluation.intervals import fit_intervals
from training.evaluation.network_predictor import NetworkPredictor
from training.evaluation.spread_regression import (
    FEWEST_ROWS,
    OWN,
    elasticity,
    fit_log_variance,
    item_facts,
    with_spread,
)
from training.fitting.initial import build_network
from training.ratings import Ratings
from training.split import Fold, Split, split_ratings

REGRESSED = Evaluation(spread="regressed")


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return tiny_ratings(users=200, items=90)


@pytest.fixture(scope="module")
def split(ratings: Ratings) -> Split:
    return split_ratings(ratings, "random", 42)


@pytest.fixture(scope="module")
def network(ratings: Ratings, split: Split) -> HybridVAE:
    configuration = Configuration(name="tiny")
    network = build_network(ratings, split.fit, configuration).eval()
    with torch.no_grad():
        network.log_spread.normal_(0, 0.3)
    return network


def test_facts_of_items_and_users_are_those_of_a_loop(
    ratings: Ratings, split: Split, network: HybridVAE
) -> None:
    around = with_spread(network, ratings, split.fit, OWN)
    bias = fit_bias(ratings, split.fit)
    histories: dict[int, list[tuple[int, float]]] = {}
    for row in split.fit:
        entry = (int(ratings.items[row]), float(ratings.values[row]))
        histories.setdefault(int(ratings.users[row]), []).append(entry)
    squares: dict[int, list[float]] = {}
    left_of: dict[int, list[float]] = {}
    for user, history in histories.items():
        left = [rating - bias.mean - float(bias.item_biases[item]) for item, rating in history]
        own = sum(left) / (len(left) + BIAS_RIDGE)
        left_of[user] = [(one - own) ** 2 for one in left]
        for (item, _), square in zip(history, left_of[user], strict=True):
            squares.setdefault(item, []).append(square)
    everything = [square for one in left_of.values() for square in one]
    common = sum(everything) / len(everything)

    def expected(of: list[float]) -> list[float]:
        count = len(of)
        variance = (sum(of) + VARIANCE_RIDGE * common) / (count + VARIANCE_RIDGE)
        return [np.log(variance), np.log(count + 1), (count + 1) ** -0.5]

    for item in range(len(ratings.catalog)):
        facts = around.facts_IK[item].tolist()
        assert facts == pytest.approx(expected(squares.get(item, [])), abs=1e-4)
    rated = ratings.histories(split.fit)
    users = around.users_of(
        torch.from_numpy(rated.items.astype(np.int64)), torch.from_numpy(rated.ratings),
        torch.from_numpy(rated.offsets),
    )  # fmt: skip
    for user in range(len(rated)):
        facts = users.facts_BK[user].tolist()
        assert facts == pytest.approx(expected(left_of.get(user, [])), abs=1e-3)


def test_weights_are_found_again_that_made_the_residuals() -> None:
    rng = np.random.default_rng(3)
    terms = np.column_stack([np.ones(80_000), rng.normal(2, 3, 80_000), rng.uniform(0, 1, 80_000)])
    weights = np.array([-1.0, 0.2, 0.7])
    squares = np.exp(terms @ weights) * rng.standard_normal(80_000) ** 2
    np.testing.assert_allclose(fit_log_variance(terms, squares), weights, atol=0.04)


def test_a_few_rows_say_little_of_terms_that_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    terms = np.column_stack([np.ones(20), rng.standard_normal((20, 5))])
    found = fit_log_variance(terms, rng.standard_normal(20) ** 2)
    assert np.abs(found[1:]).max() < 0.4  # 1.3 without the penalty


@pytest.mark.parametrize("coverage", [0.7, 0.8, 0.95])
def test_the_elasticity_is_that_of_the_narrowest_intervals(coverage: float) -> None:
    """Two spreads near each other: the reaches of least mean, by search, against the formula."""
    spreads = np.array([1.0, 1.02])

    def reaches(cut: float) -> NDArray[np.float64]:
        """Where the density of either falls to the same height."""
        within: NDArray[np.float64] = np.sqrt(-2 * np.log(cut * spreads * np.sqrt(2 * np.pi)))
        return spreads * within

    def missing(cut: float) -> float:
        return float((2 * norm.cdf(reaches(cut) / spreads) - 1).mean() - coverage)

    small, large = reaches(brentq(missing, 1e-3, 0.39))
    assert elasticity(coverage) == pytest.approx(np.log(large / small) / np.log(1.02), abs=0.02)


def test_no_interval_is_narrower_where_spreads_are_wider() -> None:
    assert elasticity(0.5) == 0  # 1 - 1 / z^2 is below 0 there


def test_ratings_and_ranking_stay_and_own_weights_change_nothing(
    ratings: Ratings, split: Split, network: HybridVAE
) -> None:
    fold, around = split.validation, with_spread(network, ratings, split.fit, OWN)
    visible, hidden = ratings.histories(fold.visible), ratings.histories(fold.hidden)
    before, after = (NetworkPredictor("one", n, (0.5, 5)) for n in (network, around))
    for mine, expected in zip(
        after.rate_with_spread(visible, hidden.rows, hidden.items),
        before.rate_with_spread(visible, hidden.rows, hidden.items),
        strict=True,
    ):
        np.testing.assert_allclose(mine, expected, rtol=1e-5)
    # Not to the last bit: a matrix product is summed in another order if threads are few.
    np.testing.assert_allclose(after.score(visible), before.score(visible), rtol=1e-5)


def test_what_is_not_asked_for_wraps_nothing(
    ratings: Ratings, split: Split, network: HybridVAE
) -> None:
    intervals = fit_intervals(network, ratings, split.fit, split.validation, Evaluation())
    assert intervals.around(network, ratings, split.refit) is network


def test_too_few_rows_keep_the_spread(ratings: Ratings, split: Split, network: HybridVAE) -> None:
    fold = split.validation
    few = Fold(fold.name, fold.visible, fold.hidden[: FEWEST_ROWS - 1])
    intervals = fit_intervals(network, ratings, split.fit, few, REGRESSED)
    assert intervals.weights is not None
    assert intervals.weights.tolist() == OWN.tolist()


def test_groups_are_covered_alike_where_spreads_depend_on_popularity() -> None:
    """A network that calls every rating equally hard, where rare items are harder by far."""
    rng = np.random.default_rng(0)
    ratings = tiny_ratings(users=400, items=100, seed=1)
    popular = np.bincount(ratings.items, minlength=100)[ratings.items]
    noise = rng.normal(0, 1.2 / np.sqrt(popular / popular.mean()))
    values = np.clip(3 + noise, 0.5, 5).astype(np.float32)
    ratings = Ratings(**(vars(ratings) | {"values": values}))
    order = rng.permutation(len(values))
    fit, validation, test = np.split(order, [len(order) // 2, len(order) * 4 // 5])
    folds = [Fold("x", np.sort(fit), np.sort(hidden)) for hidden in (validation, test)]
    network = build_network(ratings, np.sort(fit), Configuration(name="tiny")).eval()
    coverage = {}
    for spread in ("learned", "regressed"):
        asked = Evaluation.model_validate({"spread": spread})
        intervals = fit_intervals(network, ratings, np.sort(fit), folds[0], asked)
        around = intervals.around(network, ratings, np.sort(fit))
        hidden = ratings.histories(folds[1].hidden)
        predicted, spreads = NetworkPredictor("one", around, (0.5, 5)).rate_with_spread(
            ratings.histories(np.sort(fit)), hidden.rows, hidden.items
        )
        held = np.abs(hidden.ratings - predicted) <= spreads * intervals.reach.served.multiplier
        popularity = np.bincount(ratings.items[fit], minlength=100)[hidden.items]
        rare = popularity < np.quantile(popularity, 0.3)
        coverage[spread] = (held[rare].mean(), held[~rare].mean())
    assert coverage["learned"][0] < 0.74
    assert coverage["regressed"][0] == pytest.approx(0.8, abs=0.05)
    assert coverage["regressed"][1] == pytest.approx(0.8, abs=0.05)


def test_it_exports(ratings: Ratings, split: Split, network: HybridVAE, tmp_path: Path) -> None:
    weights = np.array([0.1, 0.3, 0.2, -0.05, 0.2, 0.1, -0.04, 0.3])
    around = with_spread(network, ratings, split.fit, weights)
    check_exported(around, len(ratings.catalog), ratings.scale, tmp_path)


def test_a_user_is_told_of_by_the_history_alone(
    ratings: Ratings, split: Split, network: HybridVAE
) -> None:
    """The same history alone and among others gives the same spread."""
    weights = np.array([0.0, 0.5, 0.4, 0.1, 0.2, 0.1, 0.1, 0.1])
    around = with_spread(network, ratings, split.fit, weights)
    histories = random_histories(len(ratings.catalog), ratings.scale, (4, 0, 30))
    predictor = NetworkPredictor("one", around, (0.5, 5))
    items = np.array([1, 2, 3], np.int64)
    _, together = predictor.rate_with_spread(histories, np.array([2, 2, 2]), items)
    _, alone = predictor.rate_with_spread(histories.take([2]), np.zeros(3, np.int64), items)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    _, of_nobody = predictor.rate_with_spread(histories, np.array([1, 1, 1]), items)
    assert np.isfinite(of_nobody).all()


def test_a_trained_model_is_served_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = "--set=evaluation.spread=regressed"
    assert main(["train", "--data", DATA, "--folder", "run", asked, *SMALL]) == 0
    report = report_of(tmp_path / "run")
    assert report.tests[0].of(MODEL).coverage == pytest.approx(report.reliability[0].coverage)


def test_item_facts_of_an_item_nobody_rated_are_the_common_ones(ratings: Ratings) -> None:
    rows = np.flatnonzero(ratings.items != 7)
    found: ItemFacts = item_facts(ratings, rows)
    assert found.facts_IK[7].tolist() == pytest.approx([np.log(found.variance), 0, 1])
