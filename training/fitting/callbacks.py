"""What happens around Lightning's epochs: seeds, checkpoints to resume from, averages, replays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from torch.optim.swa_utils import AveragedModel

from models.networks.hybrid_vae import HybridVAE
from training.fitting.batches import DenoisingBatches


class Reseed(Callback):
    """Makes every epoch's randomness a function of (seed, epoch), so a resumed run is exact."""

    def __init__(self, batches: DenoisingBatches) -> None:
        self.batches = batches

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Enter the first epoch of this run."""
        self._enter(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Enter the next; an epoch's start is not announced after resuming."""
        self._enter(trainer.current_epoch + 1)

    def _enter(self, epoch: int) -> None:
        self.batches.epoch = epoch
        sequence = np.random.SeedSequence((self.batches.seed, epoch, self.batches.rank))
        torch.manual_seed(int(sequence.generate_state(1)[0]))


class SaveLast(Checkpoint):
    """Saves what a run is resumed from, at the end of an epoch but not more often than it pays.

    As a Checkpoint it is called after the learner has recorded the epoch.
    """

    def __init__(self, path: Path, every_s: float) -> None:
        self.path = path
        self.every_s = every_s
        self.saved_at = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save if the last time was long enough ago, by the clock of the first process."""
        if trainer.strategy.broadcast(time.monotonic() - self.saved_at >= self.every_s):
            trainer.save_checkpoint(self.path)
            self.saved_at = time.monotonic()


class Averaging(Callback):
    """The mean of the weights at the end of each epoch from `first_epoch` on (counted from 1).

    Stochastic weight averaging (Izmailov et al. 2018, "Averaging weights leads to wider optima").
    The network has layer norms and no batch norms, so nothing need be recomputed. Lightning's
    own callback replaces the learning rate's schedule; this one leaves it alone.
    """

    def __init__(self, network: HybridVAE, first_epoch: int) -> None:
        self.first_epoch = first_epoch
        self.network = network
        self.average = AveragedModel(network)

    @property
    def count(self) -> int:
        """How many epochs the mean is of."""
        return int(self.average.n_averaged)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Add this epoch's weights to the mean."""
        if trainer.current_epoch + 1 >= self.first_epoch:
            self.average.update_parameters(self.network)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What a resumed run needs of the mean."""
        return dict(self.average.state_dict())

    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Take the mean up again."""
        self.average.load_state_dict(state_dict)


class Replay(Callback):
    """Uses the learning rates another run came to, epoch by epoch.

    A refit has no validation to see a plateau on; the rates are part of what was chosen.
    """

    def __init__(self, learning_rates: Sequence[float], first_epoch: int) -> None:
        self.learning_rates = learning_rates
        self.first_epoch = first_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Set the epoch's rate, once the warm-up is over."""
        if trainer.current_epoch >= self.first_epoch:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = self.learning_rates[trainer.current_epoch]
