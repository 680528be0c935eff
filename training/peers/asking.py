"""How our process asks a peer: rows and folds in, predictors of the evaluation out.

A peer's answers are scored by training.evaluation like everything else, so formulas and rows are
the same for all. A peer that knows users by who they are is also fitted on what a fold shows of its
users; one that reads histories is not.

Shapes: B users of a fold, T hidden pairs of a fold, I items.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories
from training.peers.environment import PeerUnavailable, run_peer
from training.peers.exchange import (
    Answer,
    Question,
    Reply,
    Task,
    read_reply,
    write_task,
)
from training.peers.side_exchange import SideInformation, write_side
from training.peers.side_information import Kind, side_information
from training.ratings import Ratings
from training.split import Fold, Rows


@dataclass(frozen=True)
class Peer:
    """A peer: its name is that of its script, and of its pins and environment unless told.

    knows_histories: whether it answers for any history, or only for users it was fitted on.
    """

    name: str
    knows_histories: bool
    environment: str | None = None


@dataclass(frozen=True)
class Fit:
    """What a peer is fitted on and with: rows of `ratings`, settings, seed.

    side: the kinds of side information it is told; its script must read them.
    """

    ratings: Ratings
    rows: Rows
    settings: dict[str, Any]
    seed: int
    liked_from: float
    side: tuple[Kind, ...] = ()


@dataclass(frozen=True)
class Answered:
    """A peer's answers for one fold, as the evaluation wants them (it is Transductive)."""

    name: str
    question: Question
    answer: Answer
    item_count: int

    def for_users(self, users: NDArray[np.int64]) -> AnsweredForUsers:
        """The answers for a batch in which row b is user users[b] of the ratings."""
        return AnsweredForUsers(self, users)

    def rate(self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        """None: the answers are those of users, not of histories."""
        return None

    def score(self, histories: Histories) -> None:
        """None: the answers are those of users, not of histories."""
        return None


@dataclass(frozen=True)
class AnsweredForUsers:
    """Answers for the users of a batch, int64 [B]."""

    answered: Answered
    users: NDArray[np.int64]

    @property
    def name(self) -> str:
        """The peer's name."""
        return self.answered.name

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32] | None:
        """float32 [T]: the peer's ratings; KeyError for a pair it was not asked for."""
        ratings = self.answered.answer.ratings
        if ratings is None:
            return None
        question, count = self.answered.question, self.answered.item_count
        asked = question.users[question.pair_rows] * count + question.pair_items
        order = np.argsort(asked)
        wanted = self.users[rows] * count + items
        places = order[np.minimum(np.searchsorted(asked, wanted, sorter=order), len(asked) - 1)]
        if not np.array_equal(asked[places], wanted):
            raise KeyError(f"{self.name} was not asked for some of these pairs")
        return ratings[places]

    def score(self, histories: Histories) -> NDArray[np.float32] | None:
        """float32 [B, I]: the peer's scores; KeyError for a user it was not asked for."""
        scores = self.answered.answer.scores
        if scores is None:
            return None
        known = self.answered.question.users
        places = np.minimum(np.searchsorted(known, self.users), len(known) - 1)
        if not np.array_equal(known[places], self.users):
            raise KeyError(f"{self.name} was not asked for some of these users")
        return scores[places]


@dataclass(frozen=True)
class Asked:
    """A predictor for each fold, in order, and the seconds of fitting."""

    predictors: tuple[Answered, ...]
    fit_seconds: float


def ask(peer: Peer, fit: Fit, folds: Sequence[Fold], environments: Path) -> Asked:
    """Fit the peer and take its answers for the hidden rows of the folds.

    `environments` is the folder of the peers' environments. A transductive peer is fitted once for
    all folds whose visible rows it is fitted on anyway, and once more for each other fold. Raises
    PeerUnavailable if it cannot be installed or fails.
    """
    if peer.knows_histories or all(_within(fold.visible, fit.rows) for fold in folds):
        return _ask(peer, fit, fit.rows, folds, environments)
    parts = [
        _ask(peer, fit, np.union1d(fit.rows, fold.visible), [fold], environments) for fold in folds
    ]
    return Asked(
        tuple(predictor for part in parts for predictor in part.predictors),
        sum(part.fit_seconds for part in parts),
    )


def _within(rows: Rows, others: Rows) -> bool:
    return bool(np.isin(rows, others).all())


def _ask(peer: Peer, fit: Fit, rows: Rows, folds: Sequence[Fold], environments: Path) -> Asked:
    task = _task(fit, rows, tuple(_question(fit.ratings, fold) for fold in folds))
    side = None
    if fit.side:
        side = side_information(fit.ratings, rows, [fold.hidden for fold in folds], fit.side)
    reply = _exchange(peer, task, side, environments)
    items = len(fit.ratings.catalog)
    pairs = zip(task.questions, reply.answers, strict=True)
    return Asked(
        tuple(Answered(peer.name, question, answer, items) for question, answer in pairs),
        reply.fit_seconds,
    )


def _exchange(peer: Peer, task: Task, side: SideInformation | None, environments: Path) -> Reply:
    with tempfile.TemporaryDirectory(prefix=f"usher-{peer.name}-") as folder:
        write_task(Path(folder), task)
        if side is not None:
            write_side(Path(folder), side)
        run_peer(peer.name, Path(folder), environments, environment=peer.environment)
        try:
            return read_reply(Path(folder))
        except OSError as error:
            raise PeerUnavailable(f"The peer {peer.name} left no reply: {error}") from None


def _task(fit: Fit, rows: Rows, questions: tuple[Question, ...]) -> Task:
    ratings = fit.ratings
    return Task(
        user_count=len(ratings.user_ids),
        item_count=len(ratings.catalog),
        lowest=ratings.scale.minimum,
        highest=ratings.scale.maximum,
        liked_from=fit.liked_from,
        seed=fit.seed,
        settings=fit.settings,
        users=ratings.users[rows].astype(np.int64),
        items=ratings.items[rows].astype(np.int64),
        values=ratings.values[rows].astype(np.float32),
        questions=questions,
    )


def _question(ratings: Ratings, fold: Fold) -> Question:
    """The users with a hidden row, their visible histories, their hidden pairs without values."""
    of_row = ratings.users[fold.hidden].astype(np.int64)
    users, pair_rows = np.unique(of_row, return_inverse=True)
    return Question(
        users,
        ratings.histories(fold.visible).take(users),
        pair_rows.astype(np.int64),
        ratings.items[fold.hidden].astype(np.int64),
    )
