"""Which users are whose when several processes fit one network, and what each is given of them.

A share is smaller ratings: its users under new numbers, their fitted rows and their part of the
fold, and what teachers know of them. Dealing is a function of the data, the number of processes
and the seed, so every machine comes to the same one by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigurationError
from training.fitting.initial import HeadStart
from training.ratings import Ratings
from training.split import Fold, Rows
from training.teachers.teacher import Teacher, Tutor

NOTHING: Rows = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Share:
    """What a process knows of a fit; a fold without rows is none."""

    ratings: Ratings
    rows: Rows
    fold: Fold
    tutor: Tutor | None
    ahead: HeadStart


def dealt(ratings: Ratings, rows: Rows, fold: Fold, size: int, seed: int) -> NDArray[np.int64]:
    """The process of each user, int64 [U].

    Users are dealt out by falling number of fitted rows, to and fro (0, 1, 1, 0, 0, ...), those of
    as many in random order: all have as many users, but for one, and nearly as many rows. Those of
    the fold alone come last. Raises ConfigurationError if somebody would have nobody.
    """
    users = len(ratings.user_ids)
    fitted_U = np.bincount(ratings.users[rows], minlength=users)
    if np.count_nonzero(fitted_U) < size:
        raise ConfigurationError(
            f"{np.count_nonzero(fitted_U)} users with ratings to fit are too few for {size} "
            "processes: use fewer."
        )
    folded_U = np.bincount(ratings.users[fold.hidden], minlength=users)
    chance_U = np.random.default_rng(seed).random(users)
    place_U = np.arange(users) % (2 * size)
    owner_U = np.empty(users, np.int64)
    owner_U[np.lexsort((chance_U, -folded_U, -fitted_U))] = np.minimum(
        place_U, 2 * size - 1 - place_U
    )
    return owner_U


def share_of(whole: Share, owner_U: NDArray[np.int64], rank: int) -> Share:
    """The part of a fit that belongs to one process."""
    ratings = whole.ratings
    users = np.flatnonzero(owner_U == rank)
    wanted = np.zeros(len(ratings), np.bool_)
    for rows in (whole.rows, whole.fold.visible, whole.fold.hidden):
        wanted[rows] = True
    kept = np.flatnonzero(wanted & (owner_U[ratings.users] == rank))
    number_U = np.zeros(len(owner_U), np.int32)
    number_U[users] = np.arange(len(users))
    part = replace(
        ratings, users=number_U[ratings.users[kept]], items=ratings.items[kept],
        values=ratings.values[kept], times=None, user_ids=ratings.user_ids[users],
        user_attributes=None,
    )  # fmt: skip

    def own(rows: Rows) -> Rows:
        return np.flatnonzero(np.isin(kept, rows, assume_unique=True))

    fold = replace(whole.fold, visible=own(whole.fold.visible), hidden=own(whole.fold.hidden))
    return Share(part, own(whole.rows), fold, _taught(whole.tutor, users), whole.ahead)


def _taught(tutor: Tutor | None, users: NDArray[np.int64]) -> Tutor | None:
    """What the teachers of ratings say of these users, under their new numbers."""
    if tutor is None or tutor.ratings is None:
        return tutor
    teacher = _known(tutor.ratings.teacher, users)
    return replace(tutor, ratings=replace(tutor.ratings, teacher=teacher))


def _known(teacher: Teacher, users: NDArray[np.int64]) -> Teacher:
    return replace(
        teacher, user_bias=teacher.user_bias[users], user_factors=teacher.user_factors[users]
    )
