"""The peer myfm_side: Bayesian SVD++ flipped that knows more than ratings, by the library myFM.

To the user's features come attributes of the user, to the item's its genres and year, to the row
itself the day of the rating (Rendle, Zhang and Koren 2019, "+ time"); each group of columns has a
Gaussian prior of its own. The likelihood is Gaussian, or ordered probit (Albert and Chib 1993): a
rating is the level between whose cut points a Gaussian falls, and what is predicted is the mean of
its expectation over the draws. Levels are those that occur among the rows to fit on.
Settings: rank, draws, likelihood (gaussian, ordinal).

Run in the environment of myfm: python -m training.peers.myfm_side FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from myfm import MyFMOrderedProbit, MyFMRegressor
from numpy.typing import NDArray

from training.peers.exchange import Answer, Stopwatch, Task, carry_out
from training.peers.fm_features import group_widths, side_features, side_table
from training.peers.myfm import relation_blocks
from training.peers.side_exchange import SideInformation, read_side


def answer(task: Task, watch: Stopwatch, side: SideInformation) -> list[Answer]:
    """Ratings of every question's pairs, clipped to the scale; no scores."""
    with watch.fitting():
        model = fitted(task, side)
    rated = (ratings(model, task, side, number) for number in range(len(task.questions)))
    return [Answer(np.clip(each, task.lowest, task.highest).astype(np.float32)) for each in rated]


def fitted(task: Task, side: SideInformation) -> Any:
    """A model of the task's rows, its draws after a tenth of burn-in kept."""
    ordinal, draws = is_ordinal(task), int(task.settings["draws"])
    model_of = MyFMOrderedProbit if ordinal else MyFMRegressor
    model = model_of(rank=int(task.settings["rank"]), random_seed=task.seed)
    return model.fit(
        side_table(side.rows),
        np.searchsorted(levels(task), task.values) if ordinal else task.values.astype(np.float64),
        X_rel=relation_blocks(side_features(task, side), task.users, task.items),
        group_shapes=group_widths(task, side),
        n_iter=draws, n_kept_samples=draws - draws // 10,
    )  # fmt: skip


def ratings(model: Any, task: Task, side: SideInformation, number: int) -> NDArray[np.float64]:
    """float64 [T]: the expected rating of each pair of a question, the mean over the draws."""
    question = task.questions[number]
    users = question.users[question.pair_rows]
    asked = relation_blocks(side_features(task, side), users, question.pair_items)
    rows = side_table(side.pairs[number])
    if is_ordinal(task):
        expected: NDArray[np.float64] = model.predict_proba(rows, asked, n_workers=1) @ levels(task)
        return expected
    expected = model.predict(rows, asked, n_workers=1)
    return expected


def is_ordinal(task: Task) -> bool:
    """Whether the likelihood is ordered probit. Raises KeyError for one there is not."""
    return {"gaussian": False, "ordinal": True}[task.settings["likelihood"]]


def levels(task: Task) -> NDArray[np.float32]:
    """float32 [L]: the ratings that occur, ascending."""
    return np.unique(task.values)


if __name__ == "__main__":
    carry_out(lambda task, watch: answer(task, watch, read_side(Path(sys.argv[1]))))
