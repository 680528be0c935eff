"""The peer ials: alternating least squares on liked ratings, by the library implicit.

Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets"; tuned as
Rendle et al. 2022, "Revisiting the performance of iALS on item recommendation benchmarks", ask for.
A user's factors are solved anew from the visible likes, so it answers for anybody.
Settings: factors, regularization, alpha (weight of a like beside 1 for all else), iterations.

Run in its own environment: python -m training.peers.ials FOLDER
"""

from __future__ import annotations

from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.peers.exchange import Answer, Question, Stopwatch, Task, carry_out

USERS_AT_ONCE = 512


def answer(task: Task, watch: Stopwatch) -> list[Answer]:
    """Scores of all items for the users of every question; no ratings."""
    model = AlternatingLeastSquares(
        **task.settings, dtype=np.float64, num_threads=1, random_state=task.seed, use_cg=False
    )
    liked = task.values >= task.liked_from
    with watch.fitting():
        likes_UI = _likes(task.users[liked], task.items[liked], task.user_count, task.item_count)
        model.fit(likes_UI, show_progress=False)
    return [Answer(scores=_scores(model, question, task)) for question in task.questions]


def _scores(model: Any, question: Question, task: Task) -> NDArray[np.float32]:
    """float32 [B, I]: inner products of the item factors with user factors solved anew."""
    visible = question.visible
    liked = visible.ratings >= task.liked_from
    users = len(visible)
    likes_BI = _likes(visible.rows[liked], visible.items[liked], users, task.item_count)
    scores_BI = np.empty((users, task.item_count), np.float32)
    for start in range(0, users, USERS_AT_ONCE):
        batch = np.arange(start, min(start + USERS_AT_ONCE, users))
        factors_BF = model.recalculate_user(batch, likes_BI[batch])
        scores_BI[batch] = factors_BF @ model.item_factors.T
    return scores_BI


def _likes(
    users: NDArray[np.int64], items: NDArray[np.int64], user_count: int, item_count: int
) -> Any:
    ones = np.ones(len(users), np.float64)
    return csr_matrix((ones, (users, items)), shape=(user_count, item_count))


if __name__ == "__main__":
    carry_out(answer)
