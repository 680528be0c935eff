"""Ratings small enough to check by hand or by brute force."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.catalog import Catalog
from models.histories import Histories
from models.manifest import RatingScale
from training.ratings import Origin, Ratings


def ratings_of(
    users: ArrayLike, items: ArrayLike, values: ArrayLike, *, user_count: int, item_count: int
) -> Ratings:
    """Ratings with the given columns, on the scale 1 to 5."""
    return Ratings(
        users=np.asarray(users, np.int32),
        items=np.asarray(items, np.int32),
        values=np.asarray(values, np.float32),
        times=None,
        user_ids=np.array([f"u{user:05}" for user in range(user_count)], "S"),
        catalog=blank_catalog(item_count),
        scale=RatingScale(minimum=1.0, maximum=5.0, step=1.0),
        origin=Origin("ratings made for a test", "none"),
    )


def blank_catalog(items: int) -> Catalog:
    """Items without titles, years and genres."""
    names = [f"i{item}" for item in range(items)]
    return Catalog(names, names, np.zeros(items, np.int16), [], np.zeros((items, 0), np.bool_))


def random_ratings(users: int, items: int, share: float, seed: int) -> Ratings:
    """Ratings of a random `share` of all pairs: biases and one shared taste, plus noise.

    The last user and the last item have no rating.
    """
    rng = np.random.default_rng(seed)
    user_column, item_column = np.nonzero(rng.random((users - 1, items - 1)) < share)
    taste = rng.normal(size=users)[user_column] * rng.normal(size=items)[item_column]
    bias = rng.normal(0, 0.5, users)[user_column] + rng.normal(0, 0.7, items)[item_column]
    values = 3.4 + bias + 0.7 * taste + rng.normal(0, 0.3, len(taste))
    order = rng.permutation(len(values))
    return ratings_of(
        user_column[order],
        item_column[order],
        np.clip(np.rint(values), 1, 5)[order],
        user_count=users,
        item_count=items,
    )


def halves(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers in two random parts, 70% and 30%, each ascending."""
    order = np.random.default_rng(seed).permutation(count)
    cut = count * 7 // 10
    return np.sort(order[:cut]), np.sort(order[cut:])


def histories_of(*users: dict[int, float]) -> Histories:
    """One history per argument: item -> rating."""
    parts = [(user, *entry) for user, history in enumerate(users) for entry in history.items()]
    columns = np.array(parts, np.float64).reshape(-1, 3)
    return Histories.from_columns(
        columns[:, 0].astype(int), columns[:, 1].astype(int), columns[:, 2], len(users)
    )
