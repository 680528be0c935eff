"""Errors by true rating, activity and popularity, against plain loops; and examples of users."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.histories import Histories
from models.manifest import RatingScale
from tests.small_ratings import halves, random_ratings
from training.evaluation.fifths import fifths
from training.evaluation.predictor import Predictor
from training.evaluation.star_errors import StarErrors, measure_star_errors
from training.ratings import Ratings
from training.split import Fold


@dataclass(frozen=True)
class Tabled:
    """Answers by looking the pair up: predicted ratings [U, I], of users by who they are."""

    name: str
    predicted_UI: NDArray[np.float32]

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        return self.predicted_UI[rows, items]

    def score(self, histories: Histories) -> None:
        return None


@dataclass(frozen=True)
class Silent:
    """Does not rate."""

    name: str = "silent"

    def rate(self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        return None

    def score(self, histories: Histories) -> None:
        return None


@dataclass(frozen=True)
class ByName:
    """Knows users by who they are only."""

    name: str
    predicted_UI: NDArray[np.float32]

    def for_users(self, users: NDArray[np.int64]) -> Predictor:
        return Tabled(self.name, self.predicted_UI[users])

    def rate(self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        raise AssertionError("users must be named first")

    def score(self, histories: Histories) -> None:
        return None


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(40, 33, 0.4, seed=4)


@pytest.fixture(scope="module")
def fold(ratings: Ratings) -> Fold:
    return Fold("test", *halves(len(ratings), 5))


@pytest.fixture(scope="module")
def tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(6)
    one, other = rng.uniform(1, 5, (2, 40, 33)).astype(np.float32)
    return one, other


@pytest.fixture(scope="module")
def found(
    ratings: Ratings, fold: Fold, tables: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> StarErrors:
    predictors: list[Predictor] = [Tabled("mine", tables[0]), Silent(), ByName("named", tables[1])]
    return measure_star_errors(predictors, ratings, fold, fold.visible)


def test_levels_are_those_of_a_loop(
    found: StarErrors,
    ratings: Ratings,
    fold: Fold,
    tables: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    by_level: dict[float, list[float]] = {}
    for row in fold.hidden:
        value = tables[0][ratings.users[row], ratings.items[row]]
        by_level.setdefault(float(ratings.values[row]), []).append(float(value))
    assert [level.lowest for level in found.levels] == sorted(by_level)
    for level in found.levels:
        values = by_level[level.lowest]
        assert level.highest == level.lowest
        assert level.rows == len(values)
        assert level.mean == pytest.approx(sum(values) / len(values))
        assert level.quantiles == pytest.approx(np.percentile(values, [5, 25, 50, 75, 95]))
        counted = Counter(min(int((value - 1) / (4 / 36)), 35) for value in values)
        assert level.counts == tuple(counted[place] for place in range(36))
    assert sum(level.rows for level in found.levels) == found.rows == len(fold.hidden)


def test_fifths_have_the_rmse_of_a_loop(
    found: StarErrors,
    ratings: Ratings,
    fold: Fold,
    tables: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    columns = {"users": ratings.users, "items": ratings.items}
    for whose, column in columns.items():
        sizes = Counter(column[fold.visible].tolist())
        owners = sorted({int(column[row]) for row in fold.hidden}, key=lambda o: (sizes[o], o))
        shares = np.array_split(owners, 5)
        bands = getattr(found, whose)
        assert len(bands) == 5
        for band, members in zip(bands, shares, strict=True):
            rows = [row for row in fold.hidden if column[row] in set(members.tolist())]
            assert band.rows == len(rows)
            assert band.smallest == min(sizes[o] for o in members.tolist())
            assert band.largest == max(sizes[o] for o in members.tolist())
            for name, table in zip(("mine", "named"), tables, strict=True):
                squares = [
                    (float(table[ratings.users[r], ratings.items[r]]) - float(ratings.values[r]))
                    ** 2
                    for r in rows
                ]
                expected = (sum(squares) / len(squares)) ** 0.5
                assert band.rmse[name] == pytest.approx(expected, rel=1e-6)
            assert "silent" not in band.rmse


def test_a_fine_scale_is_told_in_ten_ranges(ratings: Ratings, fold: Fold) -> None:
    scale = RatingScale(minimum=1.0, maximum=5.0, step=0.1)
    rng = np.random.default_rng(1)
    values = rng.choice(scale.levels, len(ratings)).astype(np.float32)
    fine = replace(ratings, values=values, scale=scale)
    predicted = np.full((40, 33), 3.0, np.float32)
    found = measure_star_errors([Tabled("mine", predicted)], fine, fold, fold.visible)
    assert len(found.levels) == 10
    assert [round(level.lowest, 6) for level in found.levels] == [
        round(1 + 0.4 * n, 6) for n in range(10)
    ]
    for n, level in enumerate(found.levels):
        last = n == 9
        hidden = values[fold.hidden].astype(np.float64)
        inside = (hidden >= level.lowest) & ((hidden < level.highest) | last)
        assert level.rows == inside.sum()


def test_who_does_not_rate_cannot_be_judged(ratings: Ratings, fold: Fold) -> None:
    with pytest.raises(ValueError, match="silent does not rate"):
        measure_star_errors([Silent()], ratings, fold, fold.visible)


def test_fifths_of_fewer_than_five_leave_none_empty() -> None:
    parts = list(fifths(np.array([3, 1, 3]), np.array([0, 9, 0, 4])))
    assert [(part.smallest, part.largest, part.rows.tolist()) for part in parts] == [
        (4, 4, [True, False, True]),
        (9, 9, [False, True, False]),
    ]
