"""The pairwise VAE as a predictor: whom it knows, and how it answers for whom it does not.

It is transductive: it tells users apart by who they are (`for_users`), not by their history. A
user it was not trained on gets the mean user embedding, an item without a fitted row the mean item
embedding. It ranks by predicted rating. Training is in pairwise_training.py.

Shapes: B users, T pairs, U users of the ratings, I items, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.histories import Histories
from models.manifest import RatingScale
from training.baselines.pairwise_network import PairwiseNetwork
from training.baselines.pairwise_settings import PairwiseSettings

# Activations of one pair take some 10 kB: 150 MB a batch.
PAIRS_PER_BATCH = 16_384


@dataclass(frozen=True)
class PairwiseEpoch:
    """What one epoch, counted from 1, came to; `kl` is in nats per rating and dimension."""

    epoch: int
    learning_rate: float
    training_mse: float
    kl: float
    validation_rmse: float | None
    averaged_rmse: float | None
    """Validation RMSE of the averaged weights, once there are some."""


@dataclass(frozen=True)
class PairwiseTables:
    """Trained weights and what they are looked up by.

    users_UF and items_IF: float32 [U + 1, F] and [I + 1, F], the last row the mean of the trained
    ones. user_rows and item_rows: int64 [U + 1] and [I + 1], the row to use for each user and item,
    which is the last one for those without a fitted row.
    """

    network: PairwiseNetwork
    users_UF: Tensor
    items_IF: Tensor
    user_rows: Tensor
    item_rows: Tensor

    @staticmethod
    def of(network: PairwiseNetwork, known_users: Tensor, known_items: Tensor) -> PairwiseTables:
        """Tables of the present weights; `known_*` are bool [U] and [I]."""
        users_UF, user_rows = _with_mean(network.users.weight.detach(), known_users)
        items_IF, item_rows = _with_mean(network.items.weight.detach(), known_items)
        return PairwiseTables(network, users_UF, items_IF, user_rows, item_rows)

    @torch.inference_mode()
    def rate(self, users_T: Tensor, items_T: Tensor) -> Tensor:
        """Unclipped ratings float32 [T], on the CPU; user U is nobody in particular."""
        self.network.eval()
        parts = [
            self.network(
                self.users_UF[self.user_rows[users_T[part]]],
                self.items_IF[self.item_rows[items_T[part]]],
            )[0].cpu()
            for part in torch.arange(len(users_T)).split(PAIRS_PER_BATCH)
        ]
        return torch.cat([torch.zeros(0), *parts])


def _with_mean(weight_F: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.arange(len(weight_F) + 1, device=weight_F.device)
    unknown = torch.cat([~known, torch.ones(1, dtype=torch.bool, device=known.device)])
    rows[unknown] = len(weight_F)
    return torch.cat([weight_F, weight_F[known].mean(0, keepdim=True)]), rows


@dataclass(frozen=True)
class PairwiseVAE:
    """A trained pairwise VAE, and the record of how it was trained.

    best_epoch: the epoch its weights are from; averaged: whether they are the average instead.
    """

    tables: PairwiseTables
    scale: RatingScale
    settings: PairwiseSettings
    epochs: tuple[PairwiseEpoch, ...]
    best_epoch: int
    averaged: bool
    name: str = "pairwise"

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """float32 [T]: ratings by nobody in particular, clipped to the scale."""
        return self.for_users(self._strangers(histories)).rate(histories, rows, items)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """float32 [B, I]: the same unclipped ratings of all items for everybody."""
        return self.for_users(self._strangers(histories)).score(histories)

    def for_users(self, users: NDArray[np.int64]) -> PairwiseForUsers:
        """The predictor for a batch in which row b is user users[b] of the ratings."""
        return PairwiseForUsers(self, users)

    def _strangers(self, histories: Histories) -> NDArray[np.int64]:
        return np.full(len(histories), len(self.tables.user_rows) - 1, np.int64)


@dataclass(frozen=True)
class PairwiseForUsers:
    """A pairwise VAE that has been told who the users of a batch are: int64 [B]."""

    model: PairwiseVAE
    users: NDArray[np.int64]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """float32 [T]: predicted ratings, clipped to the scale."""
        rated = self._rate(self.users[rows], np.asarray(items, np.int64))
        return np.clip(rated, self.model.scale.minimum, self.model.scale.maximum)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """float32 [B, I]: the predicted rating before clipping; equal users are rated once."""
        rows_B = self.model.tables.user_rows.numpy()[self.users]
        distinct, places_B = np.unique(rows_B, return_inverse=True)
        items = np.arange(len(self.model.tables.item_rows) - 1)
        if len(distinct) == 0:
            return np.zeros((0, len(items)), np.float32)
        rated = [self._rate(np.full(len(items), user), items) for user in distinct]
        return np.stack(rated)[places_B]

    def _rate(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        rated = self.model.tables.rate(torch.from_numpy(users), torch.from_numpy(items))
        return np.asarray(rated.numpy(), np.float32)
