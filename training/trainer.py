"""Fits a HybridVAE to rows of ratings: early stopping, checkpoints, resume, refit.

The two uses of DESIGN: `choose` fits on the fit rows and follows the validation fold; `refit` fits
on all training rows for exactly as many epochs as were chosen, with nothing to watch.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from models.networks.hybrid_vae import HybridVAE
from training.baselines import fit_bias
from training.batches import Batch, DenoisingBatches, FoldBatches
from training.config import Configuration
from training.learner import Learner
from training.ratings import Ratings
from training.split import Fold
from training.teacher import Tutor
from training.watch import EpochRecord, Watch

MOST_LEVELS = 20
FOLD_USERS = 256
LAST = "last.ckpt"


@dataclass(frozen=True)
class Fitted:
    """A fitted network and how it came about. `epochs` counts what its weights have seen."""

    network: HybridVAE
    epochs: int
    history: list[EpochRecord]
    warnings: list[str]
    interrupted: bool


def build_network(
    ratings: Ratings, rows: NDArray[np.int64], configuration: Configuration
) -> HybridVAE:
    """An untrained network for these rows, seeded by the configuration.

    Its item side starts at the bias model and at popularity: Adam's small steps would take longer
    to get there than a small data set has batches.
    """
    pl.seed_everything(configuration.seed, verbose=False)
    levels = ratings.scale.levels
    if len(levels) > MOST_LEVELS:  # a near-continuous scale: eleven knots tell it well enough
        levels = np.linspace(levels[0], levels[-1], 11, dtype=np.float32)
    bias = fit_bias(ratings, rows)
    items = len(ratings.catalog)
    network = HybridVAE(configuration.network, items, torch.from_numpy(levels), bias.mean)
    liked = ratings.values[rows] >= configuration.evaluation.liked_from
    likes = np.bincount(ratings.items[rows][liked], minlength=items)
    log_popularity = np.log((likes + 1) / (likes.sum() + items))
    network.start_items(_float32(bias.item_biases), _float32(log_popularity))
    return network


def _float32(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


def choose(
    ratings: Ratings,
    rows: NDArray[np.int64],
    fold: Fold,
    configuration: Configuration,
    folder: Path,
    say: Callable[[str], None],
    *,
    resume: bool = False,
    progress: bool = True,
    save_every_s: float = 30.0,
    tutor: Tutor | None = None,
) -> Fitted:
    """Fit on `rows`, follow `fold`, and return the network of the best epoch.

    Checkpoints go to `folder`: best.ckpt, and last.ckpt every `save_every_s` or so, from which
    `resume` continues exactly. Ctrl-C ends the run with the best epoch so far and `interrupted`
    set. Raises TrainingDiverged on NaN or Inf, the best checkpoint kept.
    """
    learner, batches = _learner(ratings, rows, configuration, say, tutor)
    best = ModelCheckpoint(
        folder, "best", monitor=learner.monitor, mode=learner.mode,
        save_weights_only=True, enable_version_counter=False,
    )  # fmt: skip
    settings = configuration.training
    stopping = EarlyStopping(learner.monitor, mode=learner.mode, patience=settings.patience)
    callbacks = [_Reseed(batches), best, stopping, _SaveLast(folder / LAST, save_every_s)]
    trainer = _trainer(settings.max_epochs, callbacks, progress=progress)
    validation = FoldBatches(ratings, fold, FOLD_USERS, configuration.evaluation.liked_from)
    resumed = folder / LAST if resume and (folder / LAST).exists() else None
    with _graceful_interrupt(trainer) as interrupt:
        trainer.fit(learner, _loader(batches), _loader(validation), ckpt_path=resumed)
    if interrupt.is_set():
        trainer.save_checkpoint(folder / LAST)
    epochs = _restore(learner.network, Path(best.best_model_path))
    return _fitted(learner, epochs, interrupted=interrupt.is_set())


def refit(
    ratings: Ratings,
    rows: NDArray[np.int64],
    epochs: int,
    configuration: Configuration,
    say: Callable[[str], None],
    *,
    progress: bool = True,
    tutor: Tutor | None = None,
) -> Fitted:
    """Fit anew on `rows` for exactly `epochs` epochs of the same schedules; nothing is watched."""
    learner, batches = _learner(ratings, rows, configuration, say, tutor)
    trainer = _trainer(epochs, [_Reseed(batches)], progress=progress)
    with _graceful_interrupt(trainer) as interrupt:
        trainer.fit(learner, _loader(batches))
    return _fitted(learner, trainer.current_epoch, interrupted=interrupt.is_set())


class _Reseed(Callback):
    """Makes every epoch's randomness a function of (seed, epoch), so a resumed run is exact."""

    def __init__(self, batches: DenoisingBatches) -> None:
        self.batches = batches

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._enter(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Not at the epoch's start, which Lightning does not announce after resuming.
        self._enter(trainer.current_epoch + 1)

    def _enter(self, epoch: int) -> None:
        self.batches.epoch = epoch
        sequence = np.random.SeedSequence((self.batches.seed, epoch))
        torch.manual_seed(int(sequence.generate_state(1)[0]))


class _SaveLast(Callback):
    """Saves what `resume` goes on from, at the end of an epoch but not more often than it pays."""

    def __init__(self, path: Path, every_s: float) -> None:
        self.path = path
        self.every_s = every_s
        self.saved_at = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if time.monotonic() - self.saved_at >= self.every_s:
            trainer.save_checkpoint(self.path)
            self.saved_at = time.monotonic()


def _learner(
    ratings: Ratings,
    rows: NDArray[np.int64],
    configuration: Configuration,
    say: Callable[[str], None],
    tutor: Tutor | None,
) -> tuple[Learner, DenoisingBatches]:
    network = build_network(ratings, rows, configuration)
    settings = configuration.training
    histories = ratings.histories(rows)
    batches = DenoisingBatches(
        histories,
        settings.batch_users,
        settings.hidden_share,
        configuration.evaluation.liked_from,
        configuration.seed,
        tutor,
    )
    watch = Watch(say, f"validation_{settings.monitor}", settings.monitor == "rmse")
    return Learner(network, settings, len(batches), watch), batches


def _trainer(epochs: int, callbacks: list[Callback], *, progress: bool) -> pl.Trainer:
    _quieten()
    if progress:
        callbacks = [*callbacks, RichProgressBar(leave=False)]
    return pl.Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        accelerator="auto",
        devices=1,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=progress,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
    )


def _quieten() -> None:
    """Lightning advertises, and warns of what is meant: no workers, no logger, no fold."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")


def _loader(batches: IterableDataset[Batch]) -> DataLoader[Batch]:
    # A generator of its own: DataLoader draws a seed from the global one at every pass.
    return DataLoader(batches, batch_size=None, generator=torch.Generator())


@contextmanager
def _graceful_interrupt(trainer: pl.Trainer) -> Iterator[threading.Event]:
    """First Ctrl-C: finish the batch, keep the best. Second: stop at once.

    Lightning's own handling ends the process, and with it the evaluation of what was learnt.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def stop(signum: int, frame: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        trainer.should_stop = True

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _restore(network: HybridVAE, checkpoint: Path) -> int:
    """Load the weights of a checkpoint of Learner; returns the epochs they have seen."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in content["state_dict"].items()})
    return int(content["epoch"]) + 1


def _fitted(learner: Learner, epochs: int, *, interrupted: bool) -> Fitted:
    return Fitted(
        network=learner.network.cpu().eval(),
        epochs=epochs,
        history=learner.watch.history,
        warnings=list(learner.watch.warnings.values()),
        interrupted=interrupted,
    )
