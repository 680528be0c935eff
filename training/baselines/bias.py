"""The bias model: mean + user bias + item bias, each shrunk towards 0 by a ridge penalty.

    minimise  sum (r_ui - mean - b_u - b_i)^2  +  user_ridge sum b_u^2  +  item_ridge sum b_i^2

With the item biases fixed, a user's bias has a closed form in that user's history alone, and the
other way round; fitting alternates the two until nothing moves. The same closed form answers for
users the model never saw (Koren, Bell and Volinsky 2009, section "Adding biases").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories
from models.manifest import RatingScale
from training.baselines.rows import FittedRows, fitted_rows
from training.ratings import Ratings
from training.world import ALONE, World

USER_RIDGE = 5.0
ITEM_RIDGE = 2.0
# Sweeps end when no item bias moves by more than this many rating points.
TOLERANCE = 1e-6
MAX_SWEEPS = 500


@dataclass(frozen=True)
class BiasBaseline:
    """Item biases float64 [I], from which the bias of any history follows."""

    mean: float
    item_biases: NDArray[np.float64]
    user_ridge: float
    scale: RatingScale
    name: str = "bias"

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """float32 [T]: predicted ratings, clipped to the scale."""
        ratings = self.mean + self.user_biases(histories)[rows] + self.item_biases[items]
        return np.clip(ratings, self.scale.minimum, self.scale.maximum).astype(np.float32)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """float32 [B, I]: the predicted rating before clipping, so items rank by their bias."""
        user_biases_B = self.user_biases(histories)
        return (self.mean + user_biases_B[:, None] + self.item_biases).astype(np.float32)

    def user_biases(self, histories: Histories) -> NDArray[np.float64]:
        """float64 [B]: the ridge solution for each history, 0 for an empty one."""
        left = histories.ratings - self.mean - self.item_biases[histories.items]
        return _shrunk_means(histories.rows, left, len(histories), self.user_ridge)


def fit_bias(
    ratings: Ratings,
    rows: NDArray[np.int64],
    *,
    user_ridge: float = USER_RIDGE,
    item_ridge: float = ITEM_RIDGE,
    world: World = ALONE,
) -> BiasBaseline:
    """Fit the biases on the given rows; an item without a row has bias 0.

    In a world of several processes each has the rows of its own users: means and item biases are
    those of all, for which the items' sums are added up. Raises ProtocolError if there are no rows.
    """
    fitted = fitted_rows(ratings, rows)
    counts = (len(ratings.user_ids), len(ratings.catalog))
    total, number = world.sum(np.array([fitted.values.sum(), len(rows)]))
    mean = float(total / number)
    item_biases = _alternate(fitted, mean, counts, (user_ridge, item_ridge), world)
    return BiasBaseline(mean, item_biases, user_ridge, ratings.scale)


def _alternate(
    fitted: FittedRows,
    mean: float,
    counts: tuple[int, int],
    ridges: tuple[float, float],
    world: World,
) -> NDArray[np.float64]:
    """float64 [I]: item biases after alternating closed forms have come to rest."""
    user_ridge, item_ridge = ridges
    centred = fitted.values - mean
    item_biases = np.zeros(counts[1])
    for _ in range(MAX_SWEEPS):
        left = centred - item_biases[fitted.items]
        user_biases = _shrunk_means(fitted.users, left, counts[0], user_ridge)
        left = centred - user_biases[fitted.users]
        updated = _shrunk_means(fitted.items, left, counts[1], item_ridge, world)
        moved = float(np.abs(updated - item_biases).max())
        item_biases = updated
        if moved < TOLERANCE:
            break
    return item_biases


def _shrunk_means(
    groups: NDArray[np.int64],
    values: NDArray[np.float64],
    count: int,
    ridge: float,
    world: World = ALONE,
) -> NDArray[np.float64]:
    """float64 [count]: sum of each group's values over (their number + ridge), in all the world."""
    sums = world.sum(np.bincount(groups, weights=values, minlength=count))
    numbers = world.sum(np.bincount(groups, minlength=count))
    # An empty group with no ridge is 0 / 0: its bias is 0.
    means = np.zeros(count)
    np.divide(sums, numbers + ridge, out=means, where=numbers > 0)
    return means
