"""The peer multvae: a faithful short Mult-VAE (Liang et al. 2018, "Variational autoencoders for
collaborative filtering"), the ranking VAE everybody compares with.

The liked items of a user, scaled to unit length and half dropped, are encoded to a Gaussian latent
and decoded to one multinomial over all items: I-600-200-600-I with tanh, beta rising linearly to
0.2. It runs in our own environment. The epoch is chosen on the validation fold by NDCG@100; the
refit repeats as many epochs on all training rows.

Shapes: B users, I items, H hidden, Z latent.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array
from torch import Tensor, nn

from models.histories import Histories
from training.evaluation.evaluate import Asked, tally
from training.ratings import Ratings
from training.section import Section
from training.split import Fold, Rows


class MultVAESettings(Section):
    """The paper's, but for batches that give a small data set enough steps."""

    hidden: int = Field(600, gt=0)
    latent: int = Field(200, gt=0)
    dropout: float = Field(0.5, ge=0, lt=1)
    learning_rate: float = Field(1e-3, gt=0)
    batch_users: int = Field(100, gt=0)
    beta: float = Field(0.2, ge=0)
    annealing_epochs: int = Field(40, gt=0)
    """Epochs over which the weight of KL rises from 0 to `beta`."""
    max_epochs: int = Field(150, gt=0)
    patience: int = Field(20, gt=0)
    """Epochs without a better validation NDCG@100 before training ends."""


class MultVAENetwork(nn.Module):
    """Encoder and decoder."""

    def __init__(self, items: int, settings: MultVAESettings) -> None:
        super().__init__()
        self.dropout = nn.Dropout(settings.dropout)
        self.encode = nn.Sequential(
            nn.Linear(items, settings.hidden),
            nn.Tanh(),
            nn.Linear(settings.hidden, 2 * settings.latent),
        )
        self.decode = nn.Sequential(
            nn.Linear(settings.latent, settings.hidden),
            nn.Tanh(),
            nn.Linear(settings.hidden, items),
        )
        for layer in (*self.encode, *self.decode):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.trunc_normal_(layer.bias, std=0.001)

    def forward(self, likes_BI: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, I] and KL in nats [B]; draws a latent while training, takes its mean after."""
        unit_BI = nn.functional.normalize(likes_BI)
        mean_BZ, log_variance_BZ = self.encode(self.dropout(unit_BI)).chunk(2, dim=1)
        kl_B = 0.5 * (log_variance_BZ.exp() + mean_BZ.square() - 1 - log_variance_BZ).sum(1)
        latent_BZ = mean_BZ
        if self.training:
            noise_BZ = torch.randn_like(mean_BZ)
            latent_BZ = mean_BZ + noise_BZ * (0.5 * log_variance_BZ).exp()
        return self.decode(latent_BZ), kl_B


@dataclass(frozen=True)
class MultVAE:
    """A fitted Mult-VAE: a function of the visible likes. `epoch`: how many it was fitted for."""

    network: MultVAENetwork
    items: int
    liked_from: float
    epoch: int
    seconds: float
    name: str = "multvae"

    def rate(self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        """None: it knows likes, not stars."""
        return None

    @torch.inference_mode()
    def score(self, histories: Histories) -> NDArray[np.float32]:
        """float32 [B, I]: logits."""
        self.network.eval()
        likes_UI = _likes(histories, self.items, self.liked_from)
        logits_BI, _ = self.network(torch.from_numpy(likes_UI.toarray()))
        return np.asarray(logits_BI.numpy(), np.float32)


def choose_multvae(
    ratings: Ratings,
    rows: Rows,
    validation: Fold,
    *,
    liked_from: float,
    seed: int,
    settings: MultVAESettings | None = None,
) -> MultVAE:
    """Fit on `rows` and keep the epoch with the best NDCG@100 on the validation fold."""
    return _fit(ratings, rows, validation, liked_from, seed, settings or MultVAESettings())


def refit_multvae(
    chosen: MultVAE,
    ratings: Ratings,
    rows: Rows,
    *,
    seed: int,
    settings: MultVAESettings | None = None,
) -> MultVAE:
    """Fit on other rows for exactly as many epochs as were chosen."""
    settings = (settings or MultVAESettings()).model_copy(update={"max_epochs": chosen.epoch})
    return _fit(ratings, rows, None, chosen.liked_from, seed, settings)


def _fit(
    ratings: Ratings,
    rows: Rows,
    validation: Fold | None,
    liked_from: float,
    seed: int,
    settings: MultVAESettings,
) -> MultVAE:
    items, start = len(ratings.catalog), time.monotonic()
    likes_UI = _likes(ratings.histories(rows), items, liked_from)
    likes_UI = likes_UI[np.flatnonzero(np.diff(likes_UI.indptr))]
    best, best_ndcg = None, -1.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MultVAENetwork(items, settings)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        for epoch in range(1, settings.max_epochs + 1):
            _train_epoch(network, optimizer, likes_UI, epoch, settings)
            fitted = MultVAE(network, items, liked_from, epoch, time.monotonic() - start)
            if validation is None:
                continue
            ndcg = _ndcg(fitted, ratings, validation)
            if ndcg > best_ndcg:
                best, best_ndcg = copy.deepcopy(fitted), ndcg
            elif best is not None and epoch - best.epoch >= settings.patience:
                break
    last = MultVAE(network, items, liked_from, epoch, time.monotonic() - start)
    if best is None:
        return last
    return MultVAE(best.network, items, liked_from, best.epoch, last.seconds)


def _ndcg(fitted: MultVAE, ratings: Ratings, fold: Fold) -> float:
    return tally(fitted, ratings, fold, Asked(fitted.liked_from, stars=False)).figures()["ndcg@100"]


def _train_epoch(
    network: MultVAENetwork,
    optimizer: torch.optim.Optimizer,
    likes_UI: Any,
    epoch: int,
    settings: MultVAESettings,
) -> None:
    """One pass over the users in random order: multinomial likelihood plus beta times KL."""
    network.train()
    batches = torch.randperm(likes_UI.shape[0]).split(settings.batch_users)
    for step, users in enumerate(batches):
        progress = (epoch - 1 + step / len(batches)) / settings.annealing_epochs
        likes_BI = torch.from_numpy(likes_UI[users.numpy()].toarray())
        logits_BI, kl_B = network(likes_BI)
        likelihood_B = (logits_BI.log_softmax(1) * likes_BI).sum(1)
        loss = (settings.beta * min(1.0, progress) * kl_B - likelihood_B).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _likes(histories: Histories, items: int, liked_from: float) -> Any:
    """Sparse float32 [B, I]: 1 where the history likes the item."""
    likes = (np.asarray(histories.ratings) >= liked_from).astype(np.float32)
    shape = (len(histories), items)
    matrix = csr_array((likes, histories.items, histories.offsets), shape=shape, copy=True)
    matrix.eliminate_zeros()
    return matrix
