"""Fits a HybridVAE to rows of ratings: early stopping, checkpoints, resume, refit.

The two uses of DESIGN: `choose` fits on the fit rows and follows the validation fold; `refit` fits
on all training rows for exactly as many epochs as were chosen, with nothing to watch.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from models.networks.collapse import collapsed
from models.networks.hybrid_vae import HybridVAE
from training.config import Configuration, Optimisation
from training.fitting.batches import Batch, DenoisingBatches, FoldBatches
from training.fitting.callbacks import Averaging, Replay, Reseed, SaveLast
from training.fitting.cores import Ahead, threads_for
from training.fitting.initial import build_network
from training.fitting.interrupts import graceful_interrupt
from training.fitting.learner import Learner
from training.fitting.negatives import Proposal
from training.fitting.sharpness import choose_sharpness
from training.fitting.time_effects import ratings_as_of
from training.fitting.watch import EPOCHS, EpochRecord, Watch
from training.ratings import Ratings
from training.split import Fold
from training.teachers.teacher import Tutor

FOLD_USERS = 256
BEST, LAST = "best.ckpt", "last.ckpt"


@dataclass(frozen=True)
class Fitted:
    """A fitted network and how it came about. `epochs` counts what its weights have seen."""

    network: HybridVAE
    epochs: int
    history: list[EpochRecord]
    warnings: list[str]
    interrupted: bool
    averaged: bool = False
    """Whether the weights are a mean over the last epochs."""
    name: str = "hybrid-vae"
    """What reports call it."""


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
    """Fit on `rows`, follow `fold`, and return the network that validates best.

    Checkpoints go to `folder`: best.ckpt, and last.ckpt every `save_every_s` or so, from which
    `resume` continues exactly. Ctrl-C ends the run with the best epoch so far and `interrupted`
    set. Raises TrainingDiverged on NaN or Inf, the best checkpoint kept.
    """
    learner, batches = _learner(ratings, rows, configuration, say, tutor)
    learner.watch.path = folder / EPOCHS
    last = folder / LAST
    if not resume:
        last.unlink(missing_ok=True)
        (folder / BEST).unlink(missing_ok=True)
        (folder / EPOCHS).unlink(missing_ok=True)
    best = ModelCheckpoint(
        folder, "best", monitor=learner.monitor, mode=learner.mode,
        save_weights_only=True, enable_version_counter=False,
    )  # fmt: skip
    settings = configuration.training
    averaging = _averaging(learner, settings)
    callbacks: list[Callback] = [Reseed(batches), best, *averaging]
    if not averaging:  # which is timed by max_epochs, so the run must be whole
        callbacks.append(
            EarlyStopping(learner.monitor, mode=learner.mode, patience=settings.patience)
        )
    trainer = _trainer(
        settings.max_epochs, [*callbacks, SaveLast(last, save_every_s)], progress=progress
    )
    validation = _loader(
        FoldBatches(ratings, fold, FOLD_USERS, configuration.evaluation.liked_from)
    )
    sharing = threads_for(settings.batch_users, len(ratings.catalog))
    with graceful_interrupt(trainer) as interrupt, sharing:
        trainer.fit(
            learner, _loader(batches), validation, ckpt_path=last if last.exists() else None
        )
    if interrupt.is_set() and not trainer.received_sigterm:  # which stops within an epoch
        trainer.save_checkpoint(last)
    epochs = _restore(learner.network, best.best_model_path)
    fitted = _fitted(learner, epochs, interrupted=interrupt.is_set())
    if fitted.interrupted:
        return fitted
    if averaging and averaging[0].count:
        score = best.best_model_score
        fitted = _better_of_both(fitted, averaging[0], learner, validation, score)
    liked_from = configuration.evaluation.liked_from
    choose_sharpness(fitted.network, ratings, fold, liked_from=liked_from)
    return fitted


def refit(
    ratings: Ratings,
    rows: NDArray[np.int64],
    chosen: Fitted,
    configuration: Configuration,
    say: Callable[[str], None],
    *,
    progress: bool = True,
    tutor: Tutor | None = None,
) -> Fitted:
    """Fit anew on `rows` as `chosen` was: as many epochs, the same rates, averaged if it was."""
    learner, batches = _learner(ratings, rows, configuration, say, tutor)
    settings = configuration.training
    callbacks: list[Callback] = [Reseed(batches)]
    if settings.learning_rate.schedule == "plateau":
        rates = [record.figures["learning_rate"] for record in chosen.history]
        callbacks.append(Replay(rates, settings.learning_rate.warmup_epochs))
    averaging = _averaging(learner, settings) if chosen.averaged else []
    trainer = _trainer(chosen.epochs, [*callbacks, *averaging], progress=progress)
    sharing = threads_for(settings.batch_users, len(ratings.catalog))
    with graceful_interrupt(trainer) as interrupt, sharing:
        trainer.fit(learner, _loader(batches))
    for average in averaging:
        learner.network.load_state_dict(average.average.module.state_dict())
    if learner.network.shallow is not None and chosen.network.shallow is not None:
        learner.network.shallow.sharpness.copy_(chosen.network.shallow.sharpness)
    return replace(
        _fitted(learner, trainer.current_epoch, interrupted=interrupt.is_set()),
        averaged=chosen.averaged,
    )


def _averaging(learner: Learner, settings: Optimisation) -> list[Averaging]:
    """The averaging a configuration asks for: none or one."""
    share = settings.learning_rate.averaging_from
    if share is None:
        return []
    return [Averaging(learner.network, int(share * settings.max_epochs) + 1)]


def _better_of_both(
    best: Fitted,
    averaging: Averaging,
    learner: Learner,
    validation: DataLoader[Batch],
    best_score: Tensor | None,
) -> Fitted:
    """The best epoch's network or the averaged one, whichever validates better."""
    kept = {name: value.clone() for name, value in learner.network.state_dict().items()}
    learner.network.load_state_dict(averaging.average.module.state_dict())
    judge = _trainer(1, [], progress=False)
    score = judge.validate(learner, validation, verbose=False)[0][learner.monitor]
    sign = 1 if learner.mode == "min" else -1
    if best_score is None or sign * score < sign * float(best_score):
        served = collapsed(learner.network.cpu().eval())
        return replace(best, network=served, averaged=True, epochs=len(best.history))
    learner.network.load_state_dict(kept)
    learner.network.cpu().eval()
    return best


def _learner(
    ratings: Ratings,
    rows: NDArray[np.int64],
    configuration: Configuration,
    say: Callable[[str], None],
    tutor: Tutor | None,
) -> tuple[Learner, DenoisingBatches]:
    teacher = tutor.ratings.teacher if tutor and tutor.ratings else None
    network = build_network(ratings, rows, configuration, teacher)
    settings, liked_from = configuration.training, configuration.evaluation.liked_from
    histories, items = ratings.histories(rows), len(ratings.catalog)
    draws = settings.negatives
    told = ratings_as_of(ratings, rows, settings.time_effects)
    batches = DenoisingBatches(
        histories,
        settings.batch_users,
        settings.hidden_share,
        liked_from,
        configuration.seed,
        tutor,
        Proposal.of(histories, items, liked_from, draws) if draws else None,
        settings.mixup,
        None if told is ratings else told.histories(rows),
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
    return DataLoader(Ahead(batches), batch_size=None, generator=torch.Generator())


def _restore(network: HybridVAE, checkpoint: str) -> int:
    """Load the weights of a checkpoint of Learner; returns the epochs they have seen, or 0."""
    if not checkpoint:  # stopped before the first epoch was over
        return 0
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in content["state_dict"].items()})
    return int(content["epoch"]) + 1


def _fitted(learner: Learner, epochs: int, *, interrupted: bool) -> Fitted:
    return Fitted(
        network=collapsed(learner.network.cpu().eval()),
        epochs=epochs,
        history=learner.watch.history,
        warnings=list(learner.watch.warnings.values()),
        interrupted=interrupted,
    )
