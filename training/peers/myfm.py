"""The peer myfm: Bayesian SVD++ "flipped" by Gibbs sampling, by the library myFM.

Rendle, Zhang and Koren 2019, "On the difficulty of evaluating baselines": a factorisation machine
over the user, the item, the items the user rated and the users who rated the item. It has nothing
to tune but rank and draws; its prediction is the mean over the draws after a tenth of burn-in.
As one sparse matrix the features of MovieLens 1M take 24 GB, as relation blocks (Rendle 2013) a
row for each user and each item.
Settings: rank, draws.

Run in its own environment: python -m training.peers.myfm FOLDER
"""

from __future__ import annotations

from typing import Any

import numpy as np
from myfm import MyFMRegressor, RelationBlock
from numpy.typing import NDArray

from training.peers.exchange import Answer, Question, Stopwatch, Task, carry_out
from training.peers.fm_features import svdpp_features


def answer(task: Task, watch: Stopwatch) -> list[Answer]:
    """Ratings of every question's pairs, clipped to the scale; no scores."""
    draws = int(task.settings["draws"])
    users, items = task.user_count, task.item_count
    model = MyFMRegressor(rank=int(task.settings["rank"]), random_seed=task.seed)
    features = svdpp_features(task)
    with watch.fitting():
        model.fit(
            None, task.values.astype(np.float64),
            X_rel=relation_blocks(features, task.users, task.items),
            group_shapes=[users, items, items, users],
            n_iter=draws, n_kept_samples=draws - draws // 10,
        )  # fmt: skip
    return [Answer(ratings=_ratings(model, features, task, q)) for q in task.questions]


def relation_blocks(
    features: tuple[Any, Any], users: NDArray[np.int64], items: NDArray[np.int64]
) -> list[RelationBlock]:
    """The two blocks of rows that pair users with items, both int64 [n]."""
    return [
        RelationBlock(rows.tolist(), matrix)
        for rows, matrix in zip((users, items), features, strict=True)
    ]


def _ratings(
    model: Any, features: tuple[Any, Any], task: Task, question: Question
) -> NDArray[np.float32]:
    users = question.users[question.pair_rows]
    rated: NDArray[np.float64] = model.predict(
        None, relation_blocks(features, users, question.pair_items), n_workers=1
    )
    return np.clip(rated, task.lowest, task.highest).astype(np.float32)


if __name__ == "__main__":
    carry_out(answer)
