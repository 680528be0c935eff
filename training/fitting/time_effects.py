"""Effects of time on ratings, and ratings as they would be given as of the last fitted moment.

    rating = mean + b_user + b_item + b_period(t) + b_age(t - first rating of the item)
             + b_item,period(t) + slope_user dev_user(t) + b_user,day(t) + what is left

The baseline predictor with time of Koren 2009 ("Collaborative filtering with temporal dynamics",
section 4), every term shrunk by a ridge and fitted in turn, on the fitted rows alone.

What is served knows no date of a history and predicts as of now. So the network is told targets
in which the transient part is replaced by what still holds at the last fitted moment: the last
period, the item's drift in it and the age that the item has by then. Of a user's own drift nothing
can be said ahead; the mean over the user's rows stays. The item side of the network thereby starts
and ends at that moment, and nothing of this file reaches a graph. Histories stay as they were
given, for nothing better is known of them when they are served; and validation and test rows are
scored as they are, by predictions as of the last fitted moment, whatever their own date.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.baselines.bias import ITEM_RIDGE, USER_RIDGE
from training.baselines.rows import FittedRows, fitted_rows
from training.config import TimeEffects
from training.errors import ConfigurationError
from training.ratings import Ratings
from training.split import Rows

DAY_S = 24 * 60 * 60
DEVIATION_POWER = 0.4  # Koren 2009, equation 5
SWEEPS = 30

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """One term: rows of a group share a value, times each row's slope.

    groups_N: the group of each fitted row. now_N: the group it would be in at the last fitted
    moment; None where nothing is known then. slope_N: float64 [N], or 1 for all.
    """

    groups_N: Rows
    ridge: float
    now_N: Rows | None = None
    slope_N: Floats | float = 1.0

    def solve(self, left_N: Floats) -> Floats:
        """The ridge solution of each group, float64 [G], for what other terms leave."""
        highest = self.groups_N if self.now_N is None else np.maximum(self.groups_N, self.now_N)
        count = int(highest.max()) + 1
        sums_G = np.bincount(self.groups_N, left_N * self.slope_N, count)
        squares_N = np.broadcast_to(np.square(self.slope_N), left_N.shape)
        return sums_G / (np.bincount(self.groups_N, squares_N, count) + self.ridge)

    def then(self, values_G: Floats) -> Floats:
        """What the term gave each row at its own date, float64 [N]."""
        return values_G[self.groups_N] * self.slope_N


def ratings_as_of(ratings: Ratings, rows: Rows, settings: TimeEffects | None) -> Ratings:
    """The ratings with those of `rows` as they would be given at the last moment of `rows`.

    Returns them as they are without settings. Values may leave the scale a little. Raises
    ConfigurationError if there are no dates.
    """
    if settings is None:
        return ratings
    if ratings.times is None:
        raise ConfigurationError(
            f"training.time_effects needs dates and {ratings.origin.source} has none; leave it out."
        )
    fitted, times_N = fitted_rows(ratings, rows), ratings.times[rows]
    values = ratings.values.copy()
    values[rows] = fitted.values + change_until_now(fitted, times_N, settings)
    return replace(ratings, values=values)


def change_until_now(fitted: FittedRows, times_N: Rows, settings: TimeEffects) -> Floats:
    """By how much each rating would differ had it been given at the last moment, float64 [N]."""
    effects = effects_of(fitted, times_N, settings)
    solved = fit_in_turn(
        fitted.values - fitted.mean,
        [Effect(fitted.users, USER_RIDGE), Effect(fitted.items, ITEM_RIDGE), *effects],
    )[2:]
    change_N = np.zeros(len(times_N))
    for effect, values_G in zip(effects, solved, strict=True):
        then_N = effect.then(values_G)
        now_N = _means(fitted.users, then_N) if effect.now_N is None else values_G[effect.now_N]
        change_N += now_N - then_N
    return change_N


def fit_in_turn(target_N: Floats, effects: list[Effect]) -> list[Floats]:
    """Values of every effect by block coordinate descent on the squared error and the ridges."""
    solved = [effect.solve(np.zeros_like(target_N)) for effect in effects]
    left_N = target_N
    for _ in range(SWEEPS):
        for place, effect in enumerate(effects):
            left_N = left_N + effect.then(solved[place])
            solved[place] = effect.solve(left_N)
            left_N = left_N - effect.then(solved[place])
    return solved


def effects_of(fitted: FittedRows, times_N: Rows, settings: TimeEffects) -> list[Effect]:
    """The terms that the settings name, in their order."""
    last, ridge = int(times_N.max()), settings.ridge
    period_N = _periods(times_N, settings.periods)
    items, users = fitted.items, fitted.users
    age_N = _ages(items, times_N, times_N)
    days_N = (times_N - times_N.min()) // DAY_S
    by_name = {
        "period": Effect(period_N, ridge, np.full_like(period_N, period_N.max())),
        # An item may be older by now than any was when rated: the oldest age known goes on.
        "age": Effect(age_N, ridge, _ages(items, times_N, last).clip(max=age_N.max())),
        "item": Effect(
            items * settings.periods + period_N, ridge, items * settings.periods + period_N.max()
        ),
        "user": Effect(users, ridge, slope_N=_deviations(users, times_N)),
        "day": Effect(_codes(users * (days_N.max() + 1) + days_N), ridge),
    }
    return [by_name[name] for name in settings.effects]


def _periods(times_N: Rows, periods: int) -> Rows:
    """Which of the periods, of about as many ratings each, a moment is in."""
    edges = np.quantile(times_N, np.arange(1, periods) / periods)
    return np.searchsorted(edges, times_N, side="right").astype(np.int64)


def _ages(items: Rows, times_N: Rows, at: Rows | int) -> Rows:
    """Whole powers of two of the days since each row's item was first rated, at a moment."""
    first_I = np.full(int(items.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first_I, items, times_N)
    return np.floor(np.log2(1 + (at - first_I[items]) / DAY_S)).astype(np.int64)


def _deviations(users: Rows, times_N: Rows) -> Floats:
    """dev_user(t) = sign(t - mean) |t - mean|^0.4, scaled to a mean square of 1."""
    apart_N = times_N - _means(users, times_N.astype(np.float64))
    deviation_N = np.sign(apart_N) * np.abs(apart_N / DAY_S) ** DEVIATION_POWER
    scale = np.sqrt(np.mean(np.square(deviation_N)))
    return deviation_N / scale if scale > 0 else deviation_N


def _means(groups: Rows, values_N: Floats) -> Floats:
    """Each row's mean over its group, float64 [N]."""
    sums, counts = np.bincount(groups, values_N), np.bincount(groups)
    return (sums / np.maximum(counts, 1))[groups]


def _codes(keys: Rows) -> Rows:
    """Equal keys as equal small numbers."""
    codes: Rows = np.unique(keys, return_inverse=True)[1]
    return codes
