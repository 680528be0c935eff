"""The peer svdpp: SVD++ fitted by stochastic gradient descent, by the library Surprise.

Koren 2008, "Factorization meets the neighborhood", section 4. It knows users by who they are; one
that was not fitted gets the mean and the item's bias.
Settings: n_factors, n_epochs, lr_all, reg_all.

Run in its own environment: python -m training.peers.svdpp FOLDER
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from surprise import SVDpp, Trainset

from training.peers.exchange import Answer, Question, Stopwatch, Task, carry_out


def answer(task: Task, watch: Stopwatch) -> list[Answer]:
    """Ratings of every question's pairs, clipped to the scale; no scores."""
    model = SVDpp(**task.settings, random_state=task.seed, cache_ratings=True)
    with watch.fitting():
        model.fit(_trainset(task))
    users_UF = _user_vectors(model, task)
    return [Answer(ratings=_ratings(model, users_UF, task, q)) for q in task.questions]


def _trainset(task: Task) -> Trainset:
    """Surprise's own layout, in which our row numbers are its inner ids."""
    by_user: dict[int, list[tuple[int, float]]] = {user: [] for user in range(task.user_count)}
    by_item: dict[int, list[tuple[int, float]]] = {item: [] for item in range(task.item_count)}
    for user, item, value in zip(
        task.users.tolist(), task.items.tolist(), task.values.tolist(), strict=True
    ):
        by_user[user].append((item, value))
        by_item[item].append((user, value))
    names = {number: number for number in range(max(task.user_count, task.item_count))}
    return Trainset(
        by_user, by_item, task.user_count, task.item_count, len(task.values),
        (task.lowest, task.highest), names, names,
    )  # fmt: skip


def _user_vectors(model: Any, task: Task) -> NDArray[np.float64]:
    """float64 [U, F]: p_u plus the mean-root of the implicit factors; 0 for an unknown user."""
    counts_U = np.bincount(task.users, minlength=task.user_count)
    weights = 1 / np.sqrt(counts_U[task.users])
    rated_UI = csr_matrix(
        (weights, (task.users, task.items)), shape=(task.user_count, task.item_count)
    )
    known_U = counts_U > 0
    vectors_UF: NDArray[np.float64] = (model.pu + rated_UI @ model.yj) * known_U[:, None]
    return vectors_UF


def _ratings(
    model: Any, users_UF: NDArray[np.float64], task: Task, question: Question
) -> NDArray[np.float32]:
    users, items = question.users[question.pair_rows], question.pair_items
    known_T = (np.bincount(task.items, minlength=task.item_count) > 0)[items]
    taste_T = np.einsum("tf,tf->t", users_UF[users], model.qi[items]) * known_T
    rated_T: NDArray[np.float64] = (
        model.trainset.global_mean + model.bu[users] + model.bi[items] + taste_T
    )
    return np.clip(rated_T, task.lowest, task.highest).astype(np.float32)


if __name__ == "__main__":
    carry_out(answer)
