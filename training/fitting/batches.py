"""Batches of users in the flat layout, with part of each history hidden to be predicted.

Denoising: every epoch hides a new random part of each history; the rest is encoded. Nothing here
grows beyond the ratings of one batch, and a rating never becomes a Python object.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from models.histories import Histories
from models.networks.loss import Hidden, Lessons
from models.networks.sampled_softmax import Negatives
from training.fitting.mixup import mixed
from training.fitting.negatives import Proposal
from training.ratings import Ratings
from training.split import Fold
from training.teachers.teacher import Tutor
from training.world import ALONE, World


@dataclass(frozen=True)
class Batch:
    """B users: what is encoded (N ratings) and what is scored (T ratings)."""

    users: int
    items_N: Tensor
    ratings_N: Tensor
    rows_N: Tensor
    hidden: Hidden
    numbers_B: Tensor
    """int64: which users of the ratings these are made of; nothing served may depend on it."""
    lessons: Lessons | None = None
    negatives: Negatives | None = None

    @property
    def visible(self) -> tuple[Tensor, Tensor, Tensor, int]:
        """What the network encodes, in the order of its arguments."""
        return self.items_N, self.ratings_N, self.rows_N, self.users

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        items_N, ratings_N, rows_N = (
            column.to(device) for column in (self.items_N, self.ratings_N, self.rows_N)
        )
        hidden = Hidden(*(getattr(self.hidden, f.name).to(device) for f in fields(Hidden)))
        lessons = self.lessons.to(device) if self.lessons else None
        negatives = self.negatives.to(device) if self.negatives else None
        numbers_B = self.numbers_B.to(device)
        return Batch(self.users, items_N, ratings_N, rows_N, hidden, numbers_B, lessons, negatives)


class DenoisingBatches(IterableDataset[Batch]):
    """One pass over all users with a history, in a new order and newly hidden each time.

    The randomness of pass e is seeded by (seed, e), so a resumed run sees what an uninterrupted one
    would have seen; set `epoch` before each pass.

    In a world of several processes `histories` are those of this one's users. All take as many
    steps as one would on all users, and their batches of a step have `batch_users` together, but
    for rounding.
    """

    def __init__(
        self,
        histories: Histories,
        batch_users: int,
        hidden_share: tuple[float, float],
        liked_from: float,
        seed: int,
        tutor: Tutor | None = None,
        proposal: Proposal | None = None,
        mixup: float = 0.0,
        targets: Histories | None = None,
        world: World = ALONE,
    ) -> None:
        """targets: the same histories with the ratings that hidden entries are scored against."""
        self.histories = histories
        self.targets = targets
        self.tutor = tutor
        self.proposal = proposal
        self.mixup = mixup
        self.users = np.flatnonzero(histories.lengths)
        self.users_of_all = int(world.sum(np.array([len(self.users)]))[0])
        self.rank = world.rank
        self.batch_users = batch_users
        self.hidden_share = hidden_share
        self.liked_from = liked_from
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.users_of_all // self.batch_users)

    def __iter__(self) -> Iterator[Batch]:
        # A seed's words are padded with zeros: rank 0 draws what a single process does.
        rng = np.random.default_rng((self.seed, self.epoch, self.rank))
        order = rng.permutation(self.users)
        ends = np.minimum(np.arange(len(self) + 1) * self.batch_users, self.users_of_all)
        for start, end in itertools.pairwise(ends * len(order) // max(self.users_of_all, 1)):
            yield self.batch(order[start:end], rng)

    def batch(self, users: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """Hide a share of each history, drawn uniformly from `hidden_share` per user."""
        part = self.histories.take(users)
        share = rng.uniform(*self.hidden_share, len(users))
        hide = rng.random(len(part.items)) < np.repeat(share, part.lengths)
        rows, keep = part.rows, ~hide
        told = part if self.targets is None else self.targets.take(users)
        liked = part.ratings >= self.liked_from
        batch = Batch(
            users=len(users),
            items_N=torch.from_numpy(part.items[keep]),
            ratings_N=torch.from_numpy(part.ratings[keep]),
            rows_N=torch.from_numpy(rows[keep]),
            hidden=hidden_ratings(rows[hide], part.items[hide], told.ratings[hide], liked[hide]),
            numbers_B=torch.from_numpy(users),
            lessons=self.tutor.lessons(users, part, hide, rng) if self.tutor else None,
            negatives=self.proposal.draw(rng) if self.proposal else None,
        )
        return mixed(batch, self.mixup, rng) if self.mixup else batch


class FoldBatches(IterableDataset[Batch]):
    """The users of a fold that have something hidden, in order: encode visible, score hidden.

    Where nobody has, one empty batch, for a process without a batch would not validate at all and
    leave the others waiting.
    """

    def __init__(self, ratings: Ratings, fold: Fold, batch_users: int, liked_from: float) -> None:
        self.visible = ratings.histories(fold.visible)
        self.hidden = ratings.histories(fold.hidden)
        self.users = np.flatnonzero(self.hidden.lengths)
        self.batch_users = batch_users
        self.liked_from = liked_from

    def __len__(self) -> int:
        return max(1, -(-len(self.users) // self.batch_users))

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, max(1, len(self.users)), self.batch_users):
            users = self.users[start : start + self.batch_users]
            visible, hidden = self.visible.take(users), self.hidden.take(users)
            yield Batch(
                users=len(users),
                items_N=torch.from_numpy(visible.items),
                ratings_N=torch.from_numpy(visible.ratings),
                rows_N=torch.from_numpy(visible.rows),
                hidden=hidden_ratings(
                    hidden.rows, hidden.items, hidden.ratings, hidden.ratings >= self.liked_from
                ),
                numbers_B=torch.from_numpy(users),
            )


def hidden_ratings(
    rows: NDArray[np.int64],
    items: NDArray[np.int64],
    ratings: NDArray[np.float32],
    liked: NDArray[np.bool_],
) -> Hidden:
    """The scored side of a batch, as tensors."""
    return Hidden(
        rows_T=torch.from_numpy(rows),
        items_T=torch.from_numpy(items),
        ratings_T=torch.from_numpy(ratings),
        liked_T=torch.from_numpy(liked),
    )
