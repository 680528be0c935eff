"""What predictions are worth: the formulas, and nothing about whose rows they are applied to.

Rating errors compare two arrays. Ranking measures start from the items each user is offered, best
first, and the items the user turned out to like; they give one value per user, NaN for a user
with no targets, so that means and paired bootstrap intervals are made from the same numbers.
Which rows are hidden, what is excluded and who is compared with whom is decided in
training/evaluation/evaluate.py.

Shapes: B users, I items, K ranks, C columns of sums, R resamples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories

Floats = NDArray[np.float64]

RESAMPLES = 1000
# Resampling weighs users in blocks of at most this many (resample, user) cells: about 64 MB.
_BLOCK_CELLS = 4_000_000
NO_ITEM = -1


def mse(actual: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Mean squared error in float64; NaN if there is nothing to compare."""
    return _mean(np.square(_errors(actual, predicted)))


def rmse(actual: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Root of the mean squared error, in the unit of the ratings; NaN if empty."""
    return float(np.sqrt(mse(actual, predicted)))


def mae(actual: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Mean absolute error, in the unit of the ratings; NaN if empty."""
    return _mean(np.abs(_errors(actual, predicted)))


def coverage(actual: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> float:
    """Share of the ratings that lie in their intervals, ends included; NaN if empty."""
    return _mean(inside(actual, low, high))


def inside(actual: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each rating lies in its interval, ends included."""
    covered: NDArray[np.bool_] = (low <= actual) & (actual <= high)
    return covered


def liked(histories: Histories, liked_from: float) -> Histories:
    """The ratings of at least `liked_from`, for the same users in the same order."""
    keep = np.asarray(histories.ratings) >= liked_from
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])[histories.offsets]
    return Histories(histories.items[keep], histories.ratings[keep], offsets)


def top_items(scores_BI: NDArray[np.floating[Any]], k: int) -> NDArray[np.int64]:
    """int64 [B, k]: the k highest-scored items of each user, best first.

    Ties go to the lower item index, at the last rank too, so the answer depends on the scores
    alone. An item scored -inf is never ranked; ranks left over hold NO_ITEM. Raises ValueError
    for a NaN score.
    """
    if np.isnan(scores_BI).any():
        raise ValueError("A preference score is NaN, so the items cannot be ranked.")
    users, items = scores_BI.shape
    width = min(k, items)
    ranked_BK = np.full((users, k), NO_ITEM, np.int64)
    if users == 0 or width == 0:
        return ranked_BK
    best_BW = _best_unordered(scores_BI, width)
    order_BW = np.argsort(-np.take_along_axis(scores_BI, best_BW, 1), axis=1, kind="stable")
    ranked_BW = np.take_along_axis(best_BW, order_BW, 1)
    absent_BW = np.isneginf(np.take_along_axis(scores_BI, ranked_BW, 1))
    ranked_BK[:, :width] = np.where(absent_BW, NO_ITEM, ranked_BW)
    return ranked_BK


def hits(ranked_BK: NDArray[np.int64], targets: Histories) -> NDArray[np.bool_]:
    """bool [B, K]: whether each ranked item is one of that user's targets.

    `ranked_BK` names an item at most once per user; NO_ITEM never hits.
    """
    span = int(max(ranked_BK.max(initial=0), np.max(targets.items, initial=0))) + 1
    wanted = np.sort(targets.rows * span + targets.items)
    offered_BK = np.arange(len(ranked_BK))[:, None] * span + ranked_BK
    if len(wanted) == 0:
        return np.zeros(ranked_BK.shape, np.bool_)
    nearest_BK = np.minimum(np.searchsorted(wanted, offered_BK), len(wanted) - 1)
    found_BK: NDArray[np.bool_] = (wanted[nearest_BK] == offered_BK) & (ranked_BK != NO_ITEM)
    return found_BK


def ndcg(hits_BK: NDArray[np.bool_], targets_B: NDArray[np.int64], k: int) -> Floats:
    """float64 [B]: discounted gain of the first k ranks over the best that was possible.

    Gain is 1 for a target; the best possible has min(k, targets) of them at the top
    (Jaervelin and Kekaelaeinen 2002, as in Liang et al. 2018).
    """
    discounts_K = 1.0 / np.log2(np.arange(2, k + 2))
    gains_B = hits_BK[:, :k] @ discounts_K[: hits_BK.shape[1]]
    ideal = np.concatenate([np.zeros(1), np.cumsum(discounts_K)])
    return _where_targets(gains_B, ideal[np.minimum(targets_B, k)], targets_B)


def recall(hits_BK: NDArray[np.bool_], targets_B: NDArray[np.int64], k: int) -> Floats:
    """float64 [B]: targets among the first k ranks over min(k, targets)."""
    return _where_targets(hits_BK[:, :k].sum(1), np.minimum(targets_B, k), targets_B)


def precision(hits_BK: NDArray[np.bool_], targets_B: NDArray[np.int64], k: int) -> Floats:
    """float64 [B]: targets among the first k ranks over k, however few the targets are."""
    return _where_targets(hits_BK[:, :k].sum(1), np.full(len(targets_B), k), targets_B)


def resampled_sums(values_BC: Floats, seed: int, resamples: int = RESAMPLES) -> Floats:
    """float64 [R, C]: column sums over B users drawn with replacement, R times.

    Equal `seed` and B mean the same users are drawn, whatever the columns hold: figures of two
    systems made from such sums are paired. Memory is bounded whatever B and R are.
    """
    users = len(values_BC)
    sums_RC = np.zeros((resamples, values_BC.shape[1]))
    if users == 0:
        return sums_RC
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // users)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.integers(0, users, (size, users)) + users * np.arange(size)[:, None]
        times_drawn = np.bincount(drawn.ravel(), minlength=size * users).reshape(size, users)
        sums_RC[start : start + size] = times_drawn.astype(np.float64) @ values_BC
    return sums_RC


def percentile_interval(samples: Floats, level: float = 0.95) -> tuple[float, float] | None:
    """The central interval of resampled figures; None if no resample gave one."""
    valid = samples[np.isfinite(samples)]
    if len(valid) == 0:
        return None
    low, high = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _errors(actual: NDArray[Any], predicted: NDArray[Any]) -> Floats:
    if np.shape(actual) != np.shape(predicted):
        raise ValueError(f"{np.shape(actual)} ratings but {np.shape(predicted)} predictions.")
    return np.asarray(predicted, np.float64) - np.asarray(actual, np.float64)


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _where_targets(gained_B: NDArray[Any], of_B: NDArray[Any], targets_B: NDArray[Any]) -> Floats:
    shares_B = np.full(len(targets_B), np.nan)
    np.divide(gained_B, of_B, out=shares_B, where=targets_B > 0)
    return shares_B


def _best_unordered(scores_BI: NDArray[Any], width: int) -> NDArray[np.int64]:
    """int64 [B, width]: each user's best items by ascending index, low indices first in a tie."""
    lowest_B = -np.partition(-scores_BI, width - 1, axis=1)[:, width - 1]
    above_BI = scores_BI > lowest_B[:, None]
    tied_BI = scores_BI == lowest_B[:, None]
    left_B = width - above_BI.sum(1)
    nth_tie_BI = np.cumsum(tied_BI, axis=1, dtype=np.int32)
    chosen_BI = above_BI | (tied_BI & (nth_tie_BI <= left_B[:, None]))
    return np.nonzero(chosen_BI)[1].reshape(-1, width)
