"""A predictor that can be redone by hand, for tests of the evaluation."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories
from training.evaluation.evaluate import Predictor, Scores, evaluate
from training.ratings import Ratings
from training.split import Fold

LIKED_FROM = 4.0
ITEMS = 40


@dataclass(frozen=True)
class Arithmetic:
    """Answers by sums over the history: cheap to redo by hand, different for every user, many ties.

    It likes the items of the history best, so a visible item that is not excluded shows.
    """

    name: str = "arithmetic"

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        answers = [
            arithmetic_rating(dict_of(histories, row), item)
            for row, item in zip(rows, items, strict=True)
        ]
        return np.array(answers, np.float32)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        rows = [dict_of(histories, row) for row in range(len(histories))]
        scores = [[arithmetic_score(row, item) for item in range(ITEMS)] for row in rows]
        return np.array(scores, np.float32).reshape(-1, ITEMS)


def dict_of(histories: Histories, row: int | np.int64) -> dict[int, float]:
    items, ratings = histories.of(int(row))
    return dict(zip(items.tolist(), ratings.tolist(), strict=True))


def arithmetic_rating(history: dict[int, float], item: int | np.int64) -> float:
    return 1 + (sum(history) + sum(history.values()) + 3 * int(item)) % 9 / 2


def arithmetic_score(history: dict[int, float], item: int) -> float:
    return 99.0 if item in history else float((sum(history) + item * item) % 7)


def by_user(ratings: Ratings, rows: NDArray[np.int64]) -> dict[int, dict[int, float]]:
    histories: dict[int, dict[int, float]] = defaultdict(dict)
    for row in rows:
        histories[int(ratings.users[row])][int(ratings.items[row])] = float(ratings.values[row])
    return histories


def score(predictor: Predictor, ratings: Ratings, fold: Fold) -> Scores:
    return evaluate(predictor, ratings, fold, liked_from=LIKED_FROM, seed=0)
