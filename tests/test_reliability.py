"""Reliability of intervals: every figure against a plain loop, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from models.histories import Histories
from tests.printed import printed
from tests.small_ratings import halves, random_ratings, ratings_of
from training.evaluation.calibration import CURVE, Calibrated, calibrated
from training.evaluation.predictor import Interval
from training.evaluation.reliability import Reliability, measure_reliability
from training.evaluation.reliability_table import reliability_table
from training.ratings import Ratings
from training.split import Fold


@dataclass(frozen=True)
class Tabled:
    """Answers by looking the pair up: predicted ratings and spreads [B, I]."""

    predicted: NDArray[np.float32]
    spread: NDArray[np.float32]

    def rate_with_spread(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.predicted[rows, items], self.spread[rows, items]


INTERVALS = Calibrated(Interval(0.8, 1.5), (Interval(0.5, 0.6), Interval(0.9, 2.0)))


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(40, 33, 0.4, seed=4)


@pytest.fixture(scope="module")
def fold(ratings: Ratings) -> Fold:
    return Fold("test", *halves(len(ratings), 5))


@pytest.fixture(scope="module")
def predictor() -> Tabled:
    rng = np.random.default_rng(6)
    predicted = rng.uniform(1, 5, (40, 33)).astype(np.float32)
    return Tabled(predicted, rng.uniform(0.2, 1.5, (40, 33)).astype(np.float32))


@pytest.fixture(scope="module")
def found(ratings: Ratings, fold: Fold, predictor: Tabled) -> Reliability:
    return measure_reliability(predictor, ratings, fold, fold.visible, INTERVALS)


def judged_one_by_one(
    ratings: Ratings, fold: Fold, predictor: Tabled, multiplier: float
) -> list[tuple[int, int, bool, float]]:
    """User, item, whether held, width: row by row."""
    rows = []
    for row in fold.hidden:
        user, item = int(ratings.users[row]), int(ratings.items[row])
        middle = float(predictor.predicted[user, item])
        reach = multiplier * float(predictor.spread[user, item])
        low, high = max(middle - reach, 1.0), min(middle + reach, 5.0)
        rows.append((user, item, low <= ratings.values[row] <= high, high - low))
    return rows


def test_coverage_and_width_are_those_of_a_loop(
    found: Reliability, ratings: Ratings, fold: Fold, predictor: Tabled
) -> None:
    rows = judged_one_by_one(ratings, fold, predictor, 1.5)
    assert (found.fold, found.nominal, found.rows) == ("test", 0.8, len(rows))
    assert found.coverage == pytest.approx(sum(held for _, _, held, _ in rows) / len(rows))
    assert found.width == pytest.approx(sum(width for *_, width in rows) / len(rows))
    for level, multiplier in zip(found.curve, (0.6, 2.0), strict=True):
        rows = judged_one_by_one(ratings, fold, predictor, multiplier)
        assert level.measured == pytest.approx(sum(held for _, _, held, _ in rows) / len(rows))


@pytest.mark.parametrize("whose", ["users", "items"])
def test_fifths_hold_as_many_users_and_items_in_order_of_size(
    whose: str, found: Reliability, ratings: Ratings, fold: Fold, predictor: Tabled
) -> None:
    column = {"users": ratings.users, "items": ratings.items}[whose].tolist()
    scored = {column[row] for row in fold.hidden}
    sizes = {key: sum(column[row] == key for row in fold.visible) for key in scored}
    ordered = sorted(scored, key=lambda key: (sizes[key], key))
    rows = judged_one_by_one(ratings, fold, predictor, 1.5)
    count, larger = divmod(len(ordered), 5)
    for number, band in enumerate(getattr(found, whose)):
        members = [ordered.pop(0) for _ in range(count + (number < larger))]
        mine = [row for row in rows if row[whose == "items"] in members]
        assert (band.smallest, band.largest) == (sizes[members[0]], sizes[members[-1]])
        assert band.rows == len(mine)
        assert band.coverage == pytest.approx(sum(held for _, _, held, _ in mine) / len(mine))
        assert band.width == pytest.approx(sum(width for *_, width in mine) / len(mine))
    assert not ordered


def test_the_constant_width_is_the_least_that_holds_as_many(
    found: Reliability, ratings: Ratings, fold: Fold, predictor: Tabled
) -> None:
    wanted = found.coverage * found.rows
    error = [
        abs(float(predictor.predicted[ratings.users[r], ratings.items[r]]) - ratings.values[r])
        for r in fold.hidden
    ]
    reach = next(c for c in sorted(error) if sum(e <= c for e in error) >= wanted - 1e-6)
    middle = [float(predictor.predicted[ratings.users[r], ratings.items[r]]) for r in fold.hidden]
    widths = [min(m + reach, 5.0) - max(m - reach, 1.0) for m in middle]
    assert found.constant_width == pytest.approx(sum(widths) / len(widths))


def test_too_few_users_for_five_groups_are_told_one_by_one() -> None:
    ratings = ratings_of([0, 0, 1, 1], [0, 1, 0, 1], [1, 3, 4, 5], user_count=2, item_count=2)
    fold = Fold("test", np.array([0, 2]), np.array([1, 3]))
    threes = Tabled(np.full((2, 2), 3, np.float32), np.ones((2, 2), np.float32))
    found = measure_reliability(threes, ratings, fold, fold.visible, INTERVALS)
    assert [band.coverage for band in found.users] == [1.0, 0.0]
    assert [band.rows for band in found.items] == [2]


def test_a_known_spread_gives_a_straight_curve_and_narrower_intervals() -> None:
    """Laplace errors under two spreads: normalising pays, and every level holds its share."""
    rng = np.random.default_rng(1)
    spread = np.where(np.arange(60_000) % 2, 0.02, 0.3)[None, :]
    actual = (3 + spread * rng.laplace(size=spread.shape)).clip(1, 5)
    ratings = ratings_of([0] * 60_000, range(60_000), actual[0], user_count=1, item_count=60_000)
    known = Tabled(np.full(spread.shape, 3, np.float32), spread.astype(np.float32))
    rows = np.arange(60_000)
    fold = Fold("test", rows[:0], rows[30_000:])
    intervals = calibrated(
        ratings.values[:30_000], known.predicted[0, :30_000], known.spread[0, :30_000], 0.8
    )
    found = measure_reliability(known, ratings, fold, rows[:0], intervals)
    assert [level.nominal for level in found.curve] == list(CURVE)
    for level in found.curve:
        assert level.measured == pytest.approx(level.nominal, abs=0.015)
    # 80% of a Laplace distribution is within ln 5 of its scale; of both, within c where
    # (exp(-c / 0.02) + exp(-c / 0.3)) / 2 = 0.2, so c = 0.3 ln 2.5.
    assert intervals.served.multiplier == pytest.approx(np.log(5), abs=0.03)
    assert found.width == pytest.approx(0.32 * np.log(5), abs=0.01)
    assert found.constant_width == pytest.approx(0.6 * np.log(2.5), abs=0.01)


def test_what_is_shown_holds_every_figure(found: Reliability) -> None:
    text = printed(reliability_table(found), width=120)
    for band in (*found.users, *found.items):
        assert f"{band.smallest} to {band.largest}" in text
        assert f"{band.coverage:.1%}" in text
        assert f"{band.width:.3f}" in text
    assert f"{found.constant_width:.3f}" in text
    for level in found.curve:
        bar = text.partition(f"{level.nominal:.0%}  {level.measured:.1%}  ")[2][:41]
        assert bar[round(40 * level.nominal)] == "|"
        assert bar.count("=") == round(40 * level.measured) - (level.measured > level.nominal)
