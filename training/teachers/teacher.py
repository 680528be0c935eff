"""A teacher: a strong model of the training users whose ratings the network learns to reproduce.

Fitting few labels, a network memorises; a teacher supplies labels everywhere. A teacher is any
model that is biases plus an inner product of user and item factors: the mean of a Bayesian model's
draws is one, with the draws' factors side by side. It knows users by who they are, so it cannot be
served; it sees the student's training rows and nothing else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.histories import Histories
from models.networks.loss import Everywhere, Lessons
from training.baselines import EASE

OVERSAMPLING = 20


@dataclass(frozen=True)
class Teacher:
    """Ratings as mean + user bias + item bias + <user factors, item factors>.

    user_bias: float32 [U]. item_bias: float32 [I]. user_factors: float32 [U, F]. item_factors:
    float32 [I, F]. fit_seconds: how long fitting took.
    """

    mean: float
    user_bias: NDArray[np.float32]
    item_bias: NDArray[np.float32]
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    fit_seconds: float = 0.0

    def rate(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        """The teacher's rating of each pair, float32 [S]; not clipped to the scale."""
        product = np.einsum("sf,sf->s", self.user_factors[users], self.item_factors[items])
        rating: NDArray[np.float32] = (
            self.mean + self.user_bias[users] + self.item_bias[items] + product
        )
        return rating.astype(np.float32)

    def rate_all(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """The teacher's rating of every item by each of B users, float32 [B, I]; not clipped."""
        bias_BI = np.float32(self.mean) + self.user_bias[users, None] + self.item_bias
        rating: NDArray[np.float32] = self.user_factors[users] @ self.item_factors.T
        rating += bias_BI
        return rating

    def starting_factors(self, factors: int, seed: int) -> NDArray[np.float32]:
        """Its items' factors float32 [I, at most `factors`], for a network to start from.

        Scaled so that the factors of users that go with them have unit mean squares.
        """
        most = self.compressed(factors, seed)
        scales = np.sqrt(np.square(most.user_factors).mean(axis=0))
        scaled: NDArray[np.float32] = most.item_factors * scales
        return scaled

    def compressed(self, rank: int, seed: int) -> Teacher:
        """The same teacher with its products at rank `rank`, by randomised SVD.

        Halko, Martinsson and Tropp 2011, algorithm 4.4 with two power iterations; the users x
        items matrix is never formed.
        """
        left, right = self.user_factors, self.item_factors
        if left.shape[1] <= rank:
            return self
        rng = np.random.default_rng(seed)
        probe = rng.standard_normal((len(right), rank + OVERSAMPLING)).astype(np.float32)
        basis = np.linalg.qr(left @ (right.T @ probe))[0]
        for _ in range(2):
            basis = np.linalg.qr(right @ (left.T @ basis))[0]
            basis = np.linalg.qr(left @ (right.T @ basis))[0]
        small = (basis.T @ left) @ right.T
        u, s, vt = np.linalg.svd(small, full_matrices=False)
        user_factors = (basis @ u[:, :rank]) * s[:rank]
        return replace(self, user_factors=user_factors, item_factors=vt[:rank].T.copy())


def keep_teacher(teacher: Teacher, path: Path) -> None:
    """Write a teacher, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}.half")
    with half.open("wb") as file:
        np.savez(file, allow_pickle=False, **vars(teacher))
    os.replace(half, path)


def kept_teacher(path: Path) -> Teacher:
    """Read what `keep_teacher` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    numbers = {name: float(content[name]) for name in ("mean", "fit_seconds")}
    return Teacher(**content | numbers)


@dataclass(frozen=True)
class RatingLessons:
    """A teacher of ratings, and which pairs it is asked about: half uniform, half by popularity.

    popularity: float64 [I]: each item's share of ratings. pairs_per_user: "all" is what ever more
    pairs come to, without the noise of drawing them, and costs a batch of B users B x I numbers.
    rated_pairs: whether pairs that were rated are among them; of those the teacher does not
    predict, it remembers. Without them "all" is smaller by what they weigh.
    """

    teacher: Teacher
    popularity: NDArray[np.float64]
    pairs_per_user: int | Literal["all"]
    rated_pairs: bool = True

    @staticmethod
    def of(
        teacher: Teacher,
        histories: Histories,
        pairs_per_user: int | Literal["all"],
        *,
        rated_pairs: bool = True,
    ) -> RatingLessons:
        """Lessons whose popular half of pairs follows the items of `histories`."""
        counts = np.bincount(histories.items, minlength=len(teacher.item_bias))
        return RatingLessons(teacher, counts / counts.sum(), pairs_per_user, rated_pairs)

    @property
    def drawn_per_user(self) -> int:
        """How many pairs are drawn: none where all are taught."""
        return 0 if self.pairs_per_user == "all" else self.pairs_per_user

    def everywhere(self, users: NDArray[np.int64], histories: Histories) -> Everywhere | None:
        """What each user, whose histories these are, would rate every item, if all are taught."""
        if self.pairs_per_user != "all":
            return None
        weight_I = (self.popularity + 1 / len(self.popularity)) / 2
        rated = (torch.from_numpy(histories.rows), torch.from_numpy(histories.items))
        return Everywhere(
            torch.from_numpy(self.teacher.rate_all(users)),
            torch.from_numpy(weight_I.astype(np.float32)),
            None if self.rated_pairs else rated,
        )

    def pairs(
        self, histories: Histories, hide: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and items, int64 [S] each: drawn pairs and then the hidden ones of the histories.

        Without rated pairs: those drawn pairs that were not rated.
        """
        users = len(histories)
        rows = np.arange(users, dtype=np.int64).repeat(self.drawn_per_user)
        items = self.draw(users, rng)
        if self.rated_pairs:
            return (
                np.concatenate([rows, histories.rows[hide]]),
                np.concatenate([items, histories.items[hide]]),
            )
        catalogue = len(self.popularity)
        rated = histories.rows * catalogue + histories.items
        fresh = ~np.isin(rows * catalogue + items, rated)
        return rows[fresh], items[fresh]

    def draw(self, users: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Random items int64 [users * drawn_per_user], half uniform and half by popularity.

        They are drawn blindly, so no row that must stay unseen shapes them.
        """
        shape = (users, self.drawn_per_user)
        uniform = rng.integers(0, len(self.popularity), shape)
        popular = np.searchsorted(np.cumsum(self.popularity), rng.random(shape), side="right")
        items = np.where(np.arange(shape[1]) % 2 == 0, uniform, popular).ravel()
        return items.clip(max=len(self.popularity) - 1)


@dataclass(frozen=True)
class RankingLessons:
    """EASE as a teacher of ranking.

    Its zero diagonal makes the scores of a training user leave-one-out (Steck 2019), so they do
    not merely repeat what the user is known to like.
    """

    teacher: EASE
    sharpness: float

    def preference(self, histories: Histories) -> Tensor:
        """softmax(sharpness * scores), float32 [B, I]."""
        return torch.softmax(torch.from_numpy(self.teacher.score(histories)) * self.sharpness, 1)


@dataclass(frozen=True)
class Tutor:
    """Draws what a batch of users is taught, by either teacher or both."""

    ratings: RatingLessons | None = None
    ranking: RankingLessons | None = None

    def lessons(
        self,
        users: NDArray[np.int64],
        histories: Histories,
        hide: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> Lessons:
        """Lessons on pairs of the users and items, and on each user's preference.

        users: int64 [B], whose whole histories are `histories`; hide: bool [N], their hidden part.
        """
        rows = items = np.zeros(0, np.int64)
        taught, everywhere = np.zeros(0, np.float32), None
        if self.ratings is not None:
            rows, items = self.ratings.pairs(histories, hide, rng)
            taught = self.ratings.teacher.rate(users[rows], items)
            everywhere = self.ratings.everywhere(users, histories)
        return Lessons(
            torch.from_numpy(rows),
            torch.from_numpy(items),
            torch.from_numpy(taught),
            self.ranking.preference(histories) if self.ranking else None,
            everywhere,
        )
