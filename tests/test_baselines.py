"""Every baseline keeps one contract, and each one is what its paper or formula says."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from models.histories import Histories
from tests.small_ratings import (
    blank_catalog,
    halves,
    histories_of,
    random_ratings,
    ratings_of,
)
from training.baselines import (
    PairwiseSettings,
    fit_bias,
    fit_ease,
    fit_mean,
    fit_pairwise,
    fit_popularity,
)
from training.baselines.ease import MAX_ITEMS
from training.errors import ConfigurationError, ProtocolError
from training.evaluation.evaluate import Predictor, Transductive, evaluate
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings

Rows = NDArray[np.int64]
Fit = Callable[[Ratings, Rows], Predictor]
USERS, ITEMS, LIKED_FROM = 40, 25, 4.0

SMALL_PAIRWISE = PairwiseSettings(
    n_factors=6, hidden_dims=(12, 8), latent_dim=4, batch_ratings=64, max_epochs=3
)

FITS: dict[str, Fit] = {
    "mean": fit_mean,
    "bias": fit_bias,
    "popularity": lambda ratings, rows: fit_popularity(ratings, rows, liked_from=LIKED_FROM),
    "ease": lambda ratings, rows: fit_ease(ratings, rows, liked_from=LIKED_FROM, lambda_=10.0),
    "pairwise": lambda ratings, rows: fit_pairwise(
        ratings, rows, validation=rows[::10], settings=SMALL_PAIRWISE, seed=5
    ),
}


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(USERS, ITEMS, 0.4, seed=7)


@pytest.fixture(scope="module")
def rows(ratings: Ratings) -> Rows:
    return halves(len(ratings), seed=8)[0]


@pytest.mark.parametrize("name", FITS)
class TestContract:
    @pytest.fixture
    def predictor(self, name: str, ratings: Ratings, rows: Rows) -> Predictor:
        return FITS[name](ratings, rows)

    def test_is_called_by_its_name(self, predictor: Predictor, name: str) -> None:
        assert predictor.name == name

    def test_ratings_are_finite_and_on_the_scale(
        self, predictor: Predictor, ratings: Ratings, rows: Rows
    ) -> None:
        histories = ratings.histories(rows)
        who, what = (grid.ravel() for grid in np.indices((USERS, ITEMS)))
        rated = predictor.rate(histories, who, what)
        if rated is not None:
            assert rated.shape == (USERS * ITEMS,) and rated.dtype == np.float32
            assert ((rated >= 1.0) & (rated <= 5.0)).all()

    def test_scores_are_finite(self, predictor: Predictor, ratings: Ratings, rows: Rows) -> None:
        scores = predictor.score(ratings.histories(rows))
        if scores is not None:
            assert scores.shape == (USERS, ITEMS) and scores.dtype == np.float32
            assert np.isfinite(scores).all()

    def test_it_answers_something(self, predictor: Predictor, ratings: Ratings) -> None:
        histories = ratings.histories().take([0])
        zero = np.zeros(1, np.int64)
        assert predictor.rate(histories, zero, zero) is not None or (
            predictor.score(histories) is not None
        )

    def test_empty_and_new_histories_get_answers(self, predictor: Predictor) -> None:
        new = histories_of({}, {0: 5.0, ITEMS - 1: 1.0}, {})
        for answer in answers(predictor, new):
            assert np.isfinite(answer).all()
            np.testing.assert_allclose(answer[0], answer[2])

    def test_no_users_no_answers(self, predictor: Predictor) -> None:
        nobody, none = Histories.empty(0), np.zeros(0, np.int64)
        rated, scores = predictor.rate(nobody, none, none), predictor.score(nobody)
        assert rated is None or rated.shape == (0,)
        assert scores is None or scores.shape == (0, ITEMS)

    def test_fitting_twice_gives_the_same(
        self, predictor: Predictor, name: str, ratings: Ratings, rows: Rows
    ) -> None:
        assert_same(predictor, FITS[name](ratings, rows), ratings)

    def test_rows_it_was_not_given_change_nothing(
        self, predictor: Predictor, name: str, ratings: Ratings, rows: Rows
    ) -> None:
        hidden = np.setdiff1d(np.arange(len(ratings)), rows)
        values, items, users = ratings.values.copy(), ratings.items.copy(), ratings.users.copy()
        values[hidden], items[hidden], users[hidden] = 1.0, 3, 2
        changed = replace(ratings, values=values, items=items, users=users)
        assert_same(predictor, FITS[name](changed, rows), ratings)

    def test_rows_it_was_given_matter(
        self, predictor: Predictor, name: str, ratings: Ratings, rows: Rows
    ) -> None:
        values = ratings.values.copy()
        values[rows] = np.roll(values[rows], 1) * 0.5 + 0.5
        fitted = FITS[name](replace(ratings, values=values), rows)
        histories = ratings.histories(rows)
        pairs = zip(answers(predictor, histories), answers(fitted, histories), strict=True)
        assert not all(np.allclose(before, after) for before, after in pairs)

    def test_a_user_gets_the_same_answer_alone_and_in_a_batch(
        self, predictor: Predictor, ratings: Ratings, rows: Rows
    ) -> None:
        histories = ratings.histories(rows)
        together = answers(predictor, histories)
        alone = answers(predictor, histories.take([3]))
        for batch, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(batch[3], single[0], rtol=1e-4, atol=1e-5)

    def test_no_rows_are_refused_in_a_sentence(self, name: str, ratings: Ratings) -> None:
        with pytest.raises(ProtocolError, match="no row of ratings made for a test"):
            FITS[name](ratings, np.zeros(0, np.int64))


def answers(predictor: Predictor, histories: Histories) -> list[NDArray[np.float32]]:
    """Every answer it has for every item: arrays [B, I]."""
    count = len(histories)
    who, what = (grid.ravel() for grid in np.indices((count, ITEMS)))
    rated, scores = predictor.rate(histories, who, what), predictor.score(histories)
    found = [] if rated is None else [rated.reshape(count, ITEMS)]
    return found if scores is None else [*found, scores]


def assert_same(first: Predictor, second: Predictor, ratings: Ratings) -> None:
    known = np.arange(USERS)
    histories = ratings.histories(np.arange(0, len(ratings), 3))
    pairs = [(first, second)]
    if isinstance(first, Transductive) and isinstance(second, Transductive):
        pairs.append((first.for_users(known), second.for_users(known)))
    for one, other in pairs:
        for left, right in zip(answers(one, histories), answers(other, histories), strict=True):
            np.testing.assert_array_equal(left, right)


def test_mean_is_the_mean_of_its_rows(ratings: Ratings, rows: Rows) -> None:
    assert fit_mean(ratings, rows).mean == pytest.approx(np.mean(ratings.values[rows].tolist()))


def test_popularity_counts_likes(ratings: Ratings, rows: Rows) -> None:
    pairs = zip(ratings.items[rows].tolist(), ratings.values[rows].tolist(), strict=True)
    counts = Counter(item for item, stars in pairs if stars >= LIKED_FROM)
    model = fit_popularity(ratings, rows, liked_from=LIKED_FROM)
    assert model.likes.tolist() == [counts[item] for item in range(ITEMS)]


class TestBias:
    @pytest.mark.parametrize("ridge", [0.5, 3.0])
    def test_is_the_ridge_regression_on_user_and_item_indicators(
        self, ratings: Ratings, rows: Rows, ridge: float
    ) -> None:
        users, items = ratings.users[rows], ratings.items[rows]
        centred = ratings.values[rows].astype(float) - ratings.values[rows].astype(float).mean()
        indicators = np.hstack([np.eye(USERS)[users], np.eye(ITEMS)[items]])
        oracle = Ridge(alpha=ridge, fit_intercept=False, solver="cholesky").fit(indicators, centred)
        model = fit_bias(ratings, rows, user_ridge=ridge, item_ridge=ridge)
        np.testing.assert_allclose(model.item_biases, oracle.coef_[USERS:], atol=1e-4)
        np.testing.assert_allclose(
            model.user_biases(ratings.histories(rows)), oracle.coef_[:USERS], atol=1e-4
        )

    def test_hand_computed(self) -> None:
        ratings = ratings_of([0, 1], [0, 1], [5, 1], user_count=2, item_count=3)
        model = fit_bias(ratings, np.arange(2), user_ridge=1.0, item_ridge=1.0)
        # Mean 3. By symmetry b_u = b_i = b with b = (2 - b) / (1 + 1), so b = 2 / 3.
        assert model.item_biases == pytest.approx([2 / 3, -2 / 3, 0.0], abs=1e-5)
        rated = model.rate(histories_of({0: 5.0}, {}), np.array([0, 1, 0]), np.array([0, 0, 2]))
        assert rated == pytest.approx([3 + 4 / 3, 3 + 2 / 3, 3 + 2 / 3], abs=1e-5)

    def test_no_ridge_is_allowed(self, ratings: Ratings, rows: Rows) -> None:
        model = fit_bias(ratings, rows, user_ridge=0.0, item_ridge=0.0)
        assert np.isfinite(model.item_biases).all()
        assert model.user_biases(Histories.empty(1)).tolist() == [0.0]


class TestEASE:
    def test_each_item_is_a_ridge_regression_on_the_others(
        self, ratings: Ratings, rows: Rows
    ) -> None:
        liked = np.zeros((USERS, ITEMS))
        likes = rows[ratings.values[rows] >= LIKED_FROM]
        liked[ratings.users[likes], ratings.items[likes]] = 1.0
        model = fit_ease(ratings, rows, liked_from=LIKED_FROM, lambda_=10.0)
        for item in range(ITEMS):
            others = np.delete(liked, item, axis=1)
            gram = others.T @ others + 10.0 * np.eye(ITEMS - 1)
            weights = np.linalg.solve(gram, others.T @ liked[:, item])
            np.testing.assert_allclose(
                model.weights[:, item], np.insert(weights, item, 0.0), atol=1e-6
            )
        np.testing.assert_allclose(
            model.score(ratings.histories(rows)), liked @ model.weights, atol=1e-6
        )

    def test_columns_come_in_blocks(
        self, ratings: Ratings, rows: Rows, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = fit_ease(ratings, rows, liked_from=LIKED_FROM)
        monkeypatch.setattr("training.baselines.ease._GRAM_COLUMNS", 4)
        blocks = fit_ease(ratings, rows, liked_from=LIKED_FROM)
        np.testing.assert_array_equal(blocks.weights, whole.weights)

    def test_disliked_items_have_no_vote(self, ratings: Ratings, rows: Rows) -> None:
        model = fit_ease(ratings, rows, liked_from=LIKED_FROM)
        scores = model.score(histories_of({0: 5.0, 4: 3.0}, {0: 5.0}))
        np.testing.assert_array_equal(scores[0], scores[1])

    def test_too_many_items_are_refused_before_any_work(self, ratings: Ratings, rows: Rows) -> None:
        large = replace(ratings, catalog=blank_catalog(MAX_ITEMS + 1))
        with pytest.raises(ConfigurationError, match=r"limited to 20,000 items, but .* has 20,001"):
            fit_ease(large, rows, liked_from=LIKED_FROM)

    def test_a_penalty_of_zero_is_refused(self, ratings: Ratings, rows: Rows) -> None:
        with pytest.raises(ConfigurationError, match="lambda above 0"):
            fit_ease(ratings, rows, liked_from=LIKED_FROM, lambda_=0.0)


@pytest.mark.skipif("USHER_DATA_DIR" not in os.environ, reason="USHER_DATA_DIR is not set")
def test_bias_on_the_published_split_of_movielens_1m() -> None:
    folder = Path(os.environ.get("USHER_DATA_DIR", ""))
    if not (folder / "ml-1m").is_dir():
        pytest.skip("USHER_DATA_DIR holds no ml-1m")
    ratings = load_ratings("ml-1m", SourceSettings(data_dir=folder))
    split = split_ratings(ratings, "random-1234", seed=0)
    model = fit_bias(ratings, split.refit)
    scores = evaluate(model, ratings, split.tests[0], liked_from=LIKED_FROM, seed=0, ranking=False)
    assert scores.rows == 100_020
    assert scores.rmse == pytest.approx(0.9070, abs=0.0005)  # measured elsewhere on these rows
