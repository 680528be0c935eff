"""Predictors that know their users or their spreads, evaluated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from models.histories import Histories
from tests.evaluation_parts import ITEMS, by_user, score
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
