"""How the pairwise VAE is trained: a plain loop over rows, stopped early on validation rows.

The loss is the squared error of the rating plus the weighted KL. Whichever weights were best on
the validation rows are kept: those of one epoch, or their average over the last part of the run
(Izmailov et al. 2018). `refit_pairwise` repeats a finished run on more rows with nothing left to
choose: as many epochs, the same learning rates, the same kind of weights.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from models.networks.loss import free_kl, kl_divergence
from training.baselines.pairwise import PairwiseEpoch, PairwiseTables, PairwiseVAE
from training.baselines.pairwise_network import PairwiseNetwork
from training.baselines.pairwise_settings import PROVEN, PairwiseSettings
from training.baselines.rows import FittedRows, fitted_rows
from training.errors import TrainingDiverged
from training.evaluation import metrics
from training.fitting.schedules import kl_weight, warmup_factor
from training.ratings import Ratings

OnEpoch = Callable[[PairwiseEpoch], None]
Clock = Callable[[], float]


def fit_pairwise(
    ratings: Ratings,
    rows: NDArray[np.int64],
    *,
    validation: NDArray[np.int64] | None = None,
    settings: PairwiseSettings = PROVEN,
    seed: int = 0,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
    clock: Clock = time.monotonic,
) -> PairwiseVAE:
    """Train on `rows`, choosing the weights on the `validation` rows.

    Without `validation` it trains for max_epochs and keeps the last (or the averaged) weights.
    `on_epoch` is told of each epoch as it ends. The answer depends on seed, device and thread count
    alone, unless max_seconds cuts the run. Raises ProtocolError if there are no rows and
    TrainingDiverged if the loss stops being a number.
    """
    return _run(ratings, rows, validation, settings, None, seed, device, on_epoch, clock)


def refit_pairwise(
    chosen: PairwiseVAE,
    ratings: Ratings,
    rows: NDArray[np.int64],
    *,
    seed: int = 0,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
) -> PairwiseVAE:
    """Repeat the run that gave `chosen` on other rows, with every choice frozen."""
    rates = tuple(epoch.learning_rate for epoch in chosen.epochs[: chosen.best_epoch])
    settings = chosen.settings.model_copy(update={"max_seconds": None})
    if not chosen.averaged:
        settings = settings.model_copy(update={"averaging_from": None})
    return _run(ratings, rows, None, settings, rates, seed, device, on_epoch, time.monotonic)


def _run(
    ratings: Ratings,
    rows: NDArray[np.int64],
    validation: NDArray[np.int64] | None,
    settings: PairwiseSettings,
    rates: tuple[float, ...] | None,
    seed: int,
    device: str,
    on_epoch: OnEpoch | None,
    clock: Clock,
) -> PairwiseVAE:
    fitted = fitted_rows(ratings, rows)
    held_out = fitted_rows(ratings, validation) if validation is not None else None
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):  # the caller's generators stay as they were
        torch.manual_seed(seed)
        counts = (len(ratings.user_ids), len(ratings.catalog))
        network = PairwiseNetwork(*counts, fitted.mean, settings).to(device)
        run = _Run(network, _Columns.of(fitted, counts, device), held_out, settings, rates, clock)
        run.train(on_epoch or (lambda epoch: None))
    return run.result(ratings)


@dataclass(frozen=True)
class _Columns:
    """Fitted rows on the training device, and which users and items they name."""

    users: Tensor
    items: Tensor
    ratings: Tensor
    known_users: Tensor
    known_items: Tensor

    @staticmethod
    def of(fitted: FittedRows, counts: tuple[int, int], device: str) -> _Columns:
        users, items = torch.from_numpy(fitted.users), torch.from_numpy(fitted.items)
        columns = (
            users,
            items,
            torch.from_numpy(fitted.values).float(),
            torch.bincount(users, minlength=counts[0]) > 0,
            torch.bincount(items, minlength=counts[1]) > 0,
        )
        return _Columns(*(column.to(device) for column in columns))


@dataclass
class _Run:
    """One training run: the weights as they are, the best so far, and what happened."""

    network: PairwiseNetwork
    columns: _Columns
    held_out: FittedRows | None
    settings: PairwiseSettings
    rates: tuple[float, ...] | None
    clock: Clock
    epochs: list[PairwiseEpoch] = field(default_factory=list)
    average: AveragedModel | None = None
    best: PairwiseNetwork | None = None
    best_rmse: float = math.inf
    best_epoch: int = 0
    best_averaged: bool = False
    plateau_factor: float = 1.0
    plateau_epoch: int = 0

    def train(self, on_epoch: OnEpoch) -> None:
        """All epochs, until one of the reasons to stop."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.settings.learning_rate)
        ends = self.clock() + (self.settings.max_seconds or math.inf)
        total = self.settings.max_epochs if self.rates is None else len(self.rates)
        for epoch in range(1, total + 1):
            mse, kl = self._train_epoch(optimizer, epoch, ends)
            self._average(epoch)
            on_epoch(self._close(epoch, optimizer.param_groups[0]["lr"], mse, kl))
            if self.clock() >= ends or self._stale(epoch):
                break

    def result(self, ratings: Ratings) -> PairwiseVAE:
        """The best weights, on the CPU; the averaged or last ones if nothing was validated."""
        network, epoch, averaged = self.best, self.best_epoch, self.best_averaged
        if network is None:
            network, epoch = self._averaged_network() or self.network, len(self.epochs)
            averaged = self.average is not None
        known = self.columns.known_users.cpu(), self.columns.known_items.cpu()
        tables = PairwiseTables.of(network.cpu(), *known)
        return PairwiseVAE(
            tables, ratings.scale, self.settings, tuple(self.epochs), epoch, averaged
        )

    def _train_epoch(
        self, optimizer: torch.optim.Optimizer, epoch: int, ends: float
    ) -> tuple[float, float]:
        """One pass over the rows in random order: mean squared error and KL of its batches."""
        self.network.train()
        sums, seen = torch.zeros(2), 0
        batches = torch.randperm(len(self.columns.ratings)).split(self.settings.batch_ratings)
        for step, rows in enumerate(batches):
            self._set_rate(optimizer, epoch, step, len(batches))
            sums += self._train_batch(optimizer, rows.to(self.columns.users.device), epoch)
            seen += 1
            if self.clock() >= ends:
                break
        mse, kl = (sums / seen).tolist()
        if not math.isfinite(mse + kl):
            raise TrainingDiverged(
                f"The loss of the pairwise VAE stopped being a number in epoch {epoch}; "
                "lower its learning rate."
            )
        return mse, kl

    def _train_batch(self, optimizer: torch.optim.Optimizer, rows: Tensor, epoch: int) -> Tensor:
        """One step; returns its squared error and KL, [2] on the CPU."""
        columns, kl = self.columns, self.settings.kl
        users_TF = self.network.users(columns.users[rows])
        items_TF = self.network.items(columns.items[rows])
        rated_T, posterior = self.network(users_TF, items_TF)
        error = (rated_T - columns.ratings[rows]).square().mean()
        loss = error + kl_weight(kl, epoch - 1) * free_kl(posterior, kl.free_bits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return torch.stack([error.detach(), kl_divergence(posterior).detach()]).cpu()

    def _set_rate(
        self, optimizer: torch.optim.Optimizer, epoch: int, step: int, steps: int
    ) -> None:
        warmup = warmup_factor((epoch - 1) * steps + step, self.settings.warmup_epochs * steps)
        rate = self.settings.learning_rate * self.plateau_factor * warmup
        if self.rates is not None and warmup == 1.0:
            rate = self.rates[epoch - 1]
        optimizer.param_groups[0]["lr"] = rate

    def _average(self, epoch: int) -> None:
        first = self.settings.first_averaged_epoch
        if first is None or epoch < first:
            return
        if self.average is None:
            self.average = AveragedModel(self.network)
        self.average.update_parameters(self.network)

    def _averaged_network(self) -> PairwiseNetwork | None:
        return cast(PairwiseNetwork, self.average.module) if self.average is not None else None

    def _close(self, epoch: int, rate: float, mse: float, kl: float) -> PairwiseEpoch:
        """Validate, remember the best weights, lower the rate on a plateau."""
        own = self._validate(self.network, epoch, averaged=False)
        average = self._averaged_network()
        averaged = self._validate(average, epoch, averaged=True) if average is not None else None
        self._watch_plateau(epoch)
        self.epochs.append(PairwiseEpoch(epoch, rate, mse, kl, own, averaged))
        return self.epochs[-1]

    def _watch_plateau(self, epoch: int) -> None:
        """Halve the rate once validation has not improved for a while; never while warming up."""
        waiting_since = max(self.best_epoch, self.plateau_epoch, self.settings.warmup_epochs)
        wanted = self.settings.reduce_on_plateau and self.held_out is not None
        if wanted and epoch - waiting_since > self.settings.plateau_patience:
            self.plateau_factor, self.plateau_epoch = self.plateau_factor / 2, epoch

    def _validate(self, network: PairwiseNetwork, epoch: int, *, averaged: bool) -> float | None:
        if self.held_out is None:
            return None
        device = self.columns.users.device
        tables = PairwiseTables.of(network, self.columns.known_users, self.columns.known_items)
        rated = tables.rate(
            torch.from_numpy(self.held_out.users).to(device),
            torch.from_numpy(self.held_out.items).to(device),
        )
        rmse = metrics.rmse(self.held_out.values, rated.numpy())
        if rmse < self.best_rmse:
            self.best_rmse, self.best_epoch, self.best_averaged = rmse, epoch, averaged
            self.best = copy.deepcopy(network)
        return rmse

    def _stale(self, epoch: int) -> bool:
        """Whether patience is at its end; averaging, if wanted, must have begun."""
        first = self.settings.first_averaged_epoch or 0
        waited = self.held_out is not None and epoch - self.best_epoch >= self.settings.patience
        return waited and epoch >= first
