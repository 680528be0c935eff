"""Several predictors on the same rows: intervals, paired differences, the table."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.evaluation_parts import ITEMS, LIKED_FROM, Arithmetic
from tests.printed import printed
from tests.small_ratings import halves, random_ratings
from training.baselines import fit_bias, fit_mean, fit_popularity
from training.evaluation import evaluate as evaluation
from training.evaluation.evaluate import Comparison, Predictor, evaluate, evaluate_all
from training.evaluation.scores import results_table
from training.ratings import Ratings
from training.split import Fold


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(30, ITEMS, 0.3, seed=1)


@pytest.fixture(scope="module")
def fold(ratings: Ratings) -> Fold:
    return Fold("test", *halves(len(ratings), seed=2))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "USERS_PER_BATCH", 7)


@pytest.fixture(scope="module")
def comparison(ratings: Ratings, fold: Fold) -> Comparison:
    predictors: list[Predictor] = [
        Arithmetic(),
        Arithmetic("twin"),
        fit_mean(ratings, fold.visible),
        fit_bias(ratings, fold.visible),
        fit_popularity(ratings, fold.visible, liked_from=LIKED_FROM),
    ]
    return evaluate_all(
        predictors, ratings, fold, liked_from=LIKED_FROM, seed=3, reference="arithmetic"
    )


class TestComparison:
    def test_scores_are_those_of_evaluate(
        self, comparison: Comparison, ratings: Ratings, fold: Fold
    ) -> None:
        alone = evaluate(Arithmetic(), ratings, fold, liked_from=LIKED_FROM, seed=3)
        assert comparison.of("arithmetic") == alone

    def test_a_figure_lies_in_its_interval(self, comparison: Comparison) -> None:
        for scores in comparison.scores:
            for estimate in scores.intervals.values():
                assert estimate.low <= estimate.value <= estimate.high

    def test_equal_predictors_differ_by_nothing(self, comparison: Comparison) -> None:
        for difference in comparison.differences["twin"].values():
            assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
            assert not difference.clear

    def test_differences_are_paired(self, comparison: Comparison) -> None:
        difference = comparison.differences["bias"]["mse"]
        own, other = comparison.of("bias"), comparison.of("arithmetic")
        assert own.mse is not None and other.mse is not None
        assert difference.value == pytest.approx(own.mse - other.mse)
        assert difference.clear and difference.high < 0

    def test_differences_resample_the_same_users(self, ratings: Ratings, fold: Fold) -> None:
        first, second = fit_mean(ratings, fold.visible), fit_bias(ratings, fold.visible)
        found = evaluate_all(
            [first, second], ratings, fold, liked_from=LIKED_FROM, seed=3, reference="mean"
        ).differences["bias"]["mae"]
        counted = [
            evaluation.tally(p, ratings, fold, evaluation.Asked(LIKED_FROM)).columns
            for p in (first, second)
        ]
        users = len(counted[0]["rows"])
        drawn = np.random.default_rng(3).integers(0, users, (1000, users))
        gaps = [
            (counted[1]["absolute_error"][d].sum() - counted[0]["absolute_error"][d].sum())
            / counted[0]["rows"][d].sum()
            for d in drawn
        ]
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(gaps, [0.025, 0.975])))

    def test_no_answer_is_none(self, comparison: Comparison) -> None:
        assert comparison.of("mean").ndcg_100 is None
        assert comparison.of("popularity").rmse is None
        assert "rmse" not in comparison.differences["popularity"]

    def test_json_uses_the_names_of_reports(self, comparison: Comparison) -> None:
        text = comparison.model_dump_json()
        content = json.loads(text)["scores"][2]
        assert content["predictor"] == "mean"
        assert content["ndcg@100"] is None
        assert content["mse"] == comparison.of("mean").mse
        assert {"rmse", "mae", "recall@20", "recall@50", "precision@10"} <= set(content)
        assert Comparison.model_validate_json(text) == comparison

    def test_same_seed_same_comparison(
        self, comparison: Comparison, ratings: Ratings, fold: Fold
    ) -> None:
        again, other = (
            evaluate(Arithmetic(), ratings, fold, liked_from=LIKED_FROM, seed=seed)
            for seed in (3, 4)
        )
        assert again.intervals == comparison.of("arithmetic").intervals
        assert other.metrics == again.metrics and other.intervals != again.intervals

    def test_the_table_shows_every_model(self, comparison: Comparison) -> None:
        text = printed(results_table(comparison), width=200)
        for scores in comparison.scores:
            assert scores.predictor in text
        for value in comparison.of("bias").metrics.values():
            assert f"{value:.4f}" in text
        assert "coverage" not in text

    @pytest.mark.parametrize("names", [("a", "b"), ("mean", "mean")])
    def test_reference_and_names_must_make_sense(
        self, names: tuple[str, str], ratings: Ratings, fold: Fold
    ) -> None:
        predictors = [Arithmetic(name) for name in names]
        with pytest.raises(ValueError, match="mean"):
            evaluate_all(predictors, ratings, fold, liked_from=LIKED_FROM, seed=0, reference="mean")
