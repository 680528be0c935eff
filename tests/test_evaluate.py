"""The whole evaluation, against a plain loop over users with Python's own lists and sets."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from models.histories import Histories
from tests.evaluation_parts import (
    ITEMS,
    LIKED_FROM,
    Arithmetic,
    arithmetic_rating,
    arithmetic_score,
    by_user,
    score,
)
from tests.small_ratings import halves, random_ratings, ratings_of
from training.evaluation import evaluate as evaluation
from training.evaluation.evaluate import evaluate
from training.evaluation.predictor import GAUSSIAN_80, Interval
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


def brute_force(ratings: Ratings, fold: Fold) -> dict[str, float]:
    """Every figure of Arithmetic, one user and one rating at a time."""
    visible, hidden = by_user(ratings, fold.visible), by_user(ratings, fold.hidden)
    squared: list[float] = []
    absolute: list[float] = []
    ranking: dict[str, list[float]] = defaultdict(list)
    for user, withheld in hidden.items():
        history = visible[user]
        errors = [arithmetic_rating(history, item) - stars for item, stars in withheld.items()]
        squared += [error**2 for error in errors]
        absolute += [abs(error) for error in errors]
        targets = {item for item, stars in withheld.items() if stars >= LIKED_FROM}
        if not targets:
            continue
        offered = [item for item in range(ITEMS) if item not in history]
        offered.sort(key=lambda item: (-arithmetic_score(history, item), item))
        gain = sum(1 / math.log2(rank + 2) for rank, i in enumerate(offered[:100]) if i in targets)
        best = sum(1 / math.log2(rank + 2) for rank in range(min(100, len(targets))))
        ranking["ndcg@100"].append(gain / best)
        for k in (20, 50):
            found = len(targets & set(offered[:k]))
            ranking[f"recall@{k}"].append(found / min(k, len(targets)))
        ranking["precision@10"].append(len(targets & set(offered[:10])) / 10)
    mse = sum(squared) / len(squared)
    means = {name: sum(values) / len(values) for name, values in ranking.items()}
    return {"rmse": mse**0.5, "mse": mse, "mae": sum(absolute) / len(absolute), **means}


class TestAgainstBruteForce:
    def test_every_figure(self, ratings: Ratings, fold: Fold) -> None:
        assert score(Arithmetic(), ratings, fold).metrics == pytest.approx(
            brute_force(ratings, fold)
        )

    def test_counts(self, ratings: Ratings, fold: Fold) -> None:
        hidden = by_user(ratings, fold.hidden)
        targets = [sum(v >= LIKED_FROM for v in withheld.values()) for withheld in hidden.values()]
        scores = score(Arithmetic(), ratings, fold)
        assert scores.users == len(hidden)
        assert scores.rows == len(fold.hidden)
        assert scores.targets == sum(targets)
        assert scores.ranked_users == sum(count > 0 for count in targets)

    def test_order_of_rows_and_batches_do_not_matter(
        self, ratings: Ratings, fold: Fold, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = score(Arithmetic(), ratings, fold)
        monkeypatch.setattr(evaluation, "USERS_PER_BATCH", 1000)
        turned = Fold("test", fold.visible[::-1].copy(), fold.hidden[::-1].copy())
        assert score(Arithmetic(), ratings, turned).metrics == pytest.approx(found.metrics)


class TestProtocol:
    def test_visible_items_are_excluded_and_nothing_else(self) -> None:
        # One user saw item 0 (the most popular) and is to be offered 1; item 2 was hidden, unliked.
        ratings = ratings_of([0, 0, 0], [0, 1, 2], [5, 5, 1], user_count=1, item_count=4)
        fold = Fold("test", np.array([0]), np.array([1, 2]))
        predictor = Fixed(np.array([[9.0, 5.0, 7.0, 1.0]], np.float32))
        scores = score(predictor, ratings, fold)
        assert scores.ndcg_100 == pytest.approx(1 / math.log2(3))  # item 2 is ranked before it
        assert scores.recall_20 == 1.0

    def test_users_without_targets_do_not_count(self) -> None:
        ratings = ratings_of([0, 1], [0, 1], [5, 2], user_count=2, item_count=3)
        fold = Fold("test", np.zeros(0, np.int64), np.array([0, 1]))
        scores = score(Fixed(np.array([[9.0, 5.0, 7.0]] * 2, np.float32)), ratings, fold)
        assert (scores.users, scores.ranked_users, scores.ndcg_100) == (2, 1, 1.0)

    def test_the_liked_threshold_is_the_callers(self, ratings: Ratings, fold: Fold) -> None:
        lower = evaluate(Arithmetic(), ratings, fold, liked_from=2.0, seed=0)
        assert lower.targets == int((ratings.values[fold.hidden] >= 2.0).sum())

    def test_batches_of_users_bound_the_scores(self, ratings: Ratings, fold: Fold) -> None:
        predictor = Fixed(np.zeros((30, ITEMS), np.float32))
        score(predictor, ratings, fold)
        assert max(predictor.batches) == 7

    def test_a_fold_without_rows_has_no_figures(self, ratings: Ratings) -> None:
        nothing = np.zeros(0, np.int64)
        scores = score(Arithmetic(), ratings, Fold("test", nothing, nothing))
        assert (scores.users, scores.rows, scores.metrics) == (0, 0, {})

    def test_kinds_of_figures_can_be_left_out(self, ratings: Ratings, fold: Fold) -> None:
        no_stars, no_ranking = (
            evaluate(
                Arithmetic(),
                ratings,
                fold,
                liked_from=LIKED_FROM,
                seed=0,
                stars=stars,
                ranking=not stars,
            )
            for stars in (False, True)
        )
        assert no_stars.rmse is None and no_stars.ndcg_100 is not None
        assert no_ranking.rmse is not None and no_ranking.ndcg_100 is None

    @pytest.mark.parametrize(
        ("scores", "message"),
        [(np.zeros((1, 3)), "shape"), (np.full((1, 2), np.nan), "NaN")],
    )
    def test_an_unusable_answer_is_refused(self, scores: NDArray[np.float64], message: str) -> None:
        ratings = ratings_of([0], [0], [5], user_count=1, item_count=2)
        fold = Fold("test", np.zeros(0, np.int64), np.array([0]))
        with pytest.raises(ValueError, match=f"fixed scored.*{message}"):
            score(Fixed(scores.astype(np.float32)), ratings, fold)


@dataclass(frozen=True)
class Fixed:
    """Given scores, row by row as users come; it does not rate. Remembers batch sizes."""

    scores: NDArray[np.float32]
    batches: list[int] = field(default_factory=list)
    name: str = "fixed"

    def rate(self, histories: Histories, rows: object, items: object) -> None:
        return None

    def score(self, histories: Histories) -> NDArray[np.float32]:
        first = sum(self.batches)
        self.batches.append(len(histories))
        return self.scores[first : first + len(histories)]


class TestKindsOfPredictor:
    def test_a_transductive_one_is_told_who_the_users_are(
        self, ratings: Ratings, fold: Fold
    ) -> None:
        # It looks every rating up by user: perfect, if and only if rows meet the right users.
        assert score(Omniscient(ratings), ratings, fold).rmse == 0.0

    def test_intervals_are_covered_and_clipped(self) -> None:
        ratings = ratings_of([0, 0, 0, 0], [0, 1, 2, 3], [1, 3, 4, 5], user_count=1, item_count=4)
        fold = Fold("test", np.zeros(0, np.int64), np.arange(4))
        # Rated 3 always, reach 1: [2, 4] holds 3 and 4; reach 4 is clipped to the scale [1, 5].
        narrow, wide = (score(Unsure(spread), ratings, fold) for spread in (0.5, 2.0))
        assert (narrow.coverage, narrow.width) == (0.5, 2.0)
        assert (wide.coverage, wide.width) == (1.0, 4.0)
        assert wide.nominal_coverage == 0.9

    def test_gaussian_spreads_cover_80_percent(self) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(3.0, 0.3, 4000)
        ratings = ratings_of([0] * 4000, range(4000), values, user_count=1, item_count=4000)
        fold = Fold("test", np.zeros(0, np.int64), np.arange(4000))
        unsure = Unsure(0.3, GAUSSIAN_80)
        scores = evaluate(unsure, ratings, fold, liked_from=9.0, seed=0)
        assert scores.coverage == pytest.approx(0.8, abs=0.02)


@dataclass(frozen=True)
class Omniscient:
    """Knows every rating by user; says nothing to strangers."""

    ratings: Ratings
    users: NDArray[np.int64] | None = None
    name: str = "omniscient"

    def for_users(self, users: NDArray[np.int64]) -> Omniscient:
        return Omniscient(self.ratings, users)

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32] | None:
        if self.users is None:
            return None
        known = by_user(self.ratings, np.arange(len(self.ratings)))
        pairs = zip(self.users[rows].tolist(), items.tolist(), strict=True)
        return np.array([known[user][item] for user, item in pairs], np.float32)

    def score(self, histories: Histories) -> None:
        return None


REACHING_TWICE = Interval(0.9, 2.0)


@dataclass(frozen=True)
class Unsure:
    """Rates 3 always, with one spread."""

    spread: float
    interval: Interval = REACHING_TWICE
    name: str = "unsure"

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        return np.full(len(items), 3.0, np.float32)

    def rate_with_spread(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.rate(histories, rows, items), np.full(len(items), self.spread, np.float32)

    def score(self, histories: Histories) -> None:
        return None
