"""The teacher: the peer myfm, and what its draws come to as biases and factors.

A draw of a factorisation machine over a user block and an item block is biases plus an inner
product: with p the user's and q the item's sum of factors, |p + q|^2 = |p|^2 + |q|^2 + 2 <p, q>,
and all but the last belongs to one side (Rendle 2012, "Factorization machines with libFM", eq. 5).
The mean over D draws of rank R is then an inner product of D * R factors. Side information of users
and items is more features of either side, so the same holds with it.

Run in the environment of myfm: python -m training.peers.myfm_factors FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from myfm import MyFMRegressor
from numpy.typing import NDArray

from training.peers.exchange import Task, read_task
from training.peers.fm_features import group_widths, side_features
from training.peers.myfm import relation_blocks
from training.peers.side_exchange import SideInformation, read_side

FACTORS = "factors.npz"
BURN_IN = 20


def main(folder: Path) -> None:
    """Fit on the folder's task and side information, none of it on rows; write factors.npz."""
    task, side = read_task(folder), read_side(folder)
    features = side_features(task, side)
    np.savez(folder / FACTORS, **factors(fitted(task, side), features))


def fitted(task: Task, side: SideInformation) -> MyFMRegressor:
    """A model of the task's rows, its draws after the burn-in kept."""
    draws = int(task.settings["draws"])
    model = MyFMRegressor(rank=int(task.settings["rank"]), random_seed=task.seed)
    return model.fit(
        None, task.values.astype(np.float64),
        X_rel=relation_blocks(side_features(task, side), task.users, task.items),
        group_shapes=group_widths(task, side), n_iter=draws, n_kept_samples=draws - BURN_IN,
    )  # fmt: skip


def factors(model: MyFMRegressor, features: tuple[Any, Any]) -> dict[str, Any]:
    """The mean of the draws as a mean rating, and biases and factors of users and items."""
    samples = model.predictor_.samples
    user_bias, user_factors = one_side(features[0], samples, 0)
    item_bias, item_factors = one_side(features[1], samples, features[0].shape[1])
    return {
        "mean": np.mean([sample.w0 for sample in samples]),
        "user_bias": user_bias,
        "item_bias": item_bias,
        "user_factors": user_factors,
        "item_factors": item_factors / np.float32(len(samples)),
    }


def one_side(
    features: Any, samples: Any, start: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean bias float32 [n] and factors side by side float32 [n, D * R] of one block's rows."""
    columns = slice(start, start + features.shape[1])
    squared = features.multiply(features).tocsr()
    bias = np.zeros(features.shape[0])
    factors = np.empty((features.shape[0], len(samples), samples[0].V.shape[1]), np.float32)
    for number, sample in enumerate(samples):
        column_factors = sample.V[columns]
        row_factors = features @ column_factors
        own = np.square(row_factors).sum(1) - squared @ np.square(column_factors).sum(1)
        bias += (features @ sample.w[columns] + own / 2) / len(samples)
        factors[:, number] = row_factors
    return bias.astype(np.float32), factors.reshape(len(factors), -1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
