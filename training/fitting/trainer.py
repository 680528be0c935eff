"""Fits a HybridVAE to rows of ratings: early stopping, checkpoints, resume, refit.

The two uses of DESIGN: `choose` fits on the fit rows and follows the validation fold; `refit` fits
on all training rows for exactly as many epochs as were chosen, with nothing to watch.

Either is the work of one process, or of several in a `World` (`processes` starts them): each then
calls the same function with the rows of its own users, and all return the same network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from models.networks.collapse import collapsed
from models.networks.hybrid_vae import HybridVAE
from training.config import Configuration, Optimisation
from training.errors import ConfigurationError
from training.fitting.batches import Batch, FoldBatches
from training.fitting.callbacks import Averaging, Replay, Reseed, SaveLast
from training.fitting.initial import HeadStart
from training.fitting.interrupts import Interruption
from training.fitting.learner import Learner
from training.fitting.preparation import learner_of, loader_of, sharing_of, trainer_of
from training.fitting.sharpness import choose_sharpness
from training.fitting.watch import EPOCHS, EpochRecord
from training.ratings import Ratings
from training.split import Fold
from training.teachers.teacher import Tutor
from training.world import ALONE, World

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
    """`follow`, and choose how much a shallow path weighs."""
    fitted = follow(
        ratings, rows, fold, configuration, folder, say,
        resume=resume, progress=progress, save_every_s=save_every_s, tutor=tutor,
    )  # fmt: skip
    if not fitted.interrupted:
        liked_from = configuration.evaluation.liked_from
        choose_sharpness(fitted.network, ratings, fold, liked_from=liked_from)
    return fitted


def follow(
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
    world: World = ALONE,
    ahead: HeadStart | None = None,
) -> Fitted:
    """Fit on `rows`, follow `fold`, and return the network that validates best.

    Checkpoints go to `folder`: best.ckpt, and last.ckpt every `save_every_s` or so, from which
    `resume` continues exactly. Ctrl-C ends the run with the best epoch so far and `interrupted`
    set. Raises TrainingDiverged on NaN or Inf, the best checkpoint kept, and ConfigurationError if
    only some of several machines see what is to be resumed.
    """
    learner, batches = learner_of(ratings, rows, configuration, say, tutor, world, ahead)
    last = _claimed(folder, learner, resume=resume)
    best = ModelCheckpoint(
        folder, "best", monitor=learner.monitor, mode=learner.mode,
        save_weights_only=True, enable_version_counter=False,
    )  # fmt: skip
    settings = configuration.training
    averaging = _averaging(learner, settings)
    interruption = Interruption(world)
    callbacks: list[Callback] = [Reseed(batches), interruption, best, *averaging]
    if not averaging:  # which is timed by max_epochs, so the run must be whole
        callbacks.append(
            EarlyStopping(learner.monitor, mode=learner.mode, patience=settings.patience)
        )
    trainer = trainer_of(
        settings.max_epochs, [*callbacks, SaveLast(last, save_every_s)], world, progress=progress
    )
    validation = loader_of(
        FoldBatches(ratings, fold, FOLD_USERS, configuration.evaluation.liked_from)
    )
    with interruption.heeded(trainer), sharing_of(ratings, settings, world):
        trainer.fit(
            learner, loader_of(batches), validation, ckpt_path=last if last.exists() else None
        )
    interrupted = interruption.asked()
    if interrupted and not trainer.received_sigterm:  # which stops within an epoch
        trainer.save_checkpoint(last)
    epochs = _restore(learner.network, best.best_model_path, trainer, world)
    fitted = _fitted(learner, epochs, interrupted=interrupted)
    if averaging and averaging[0].count and not interrupted:
        score = best.best_model_score
        fitted = _better_of_both(fitted, averaging[0], learner, validation, score)
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
    world: World = ALONE,
    ahead: HeadStart | None = None,
) -> Fitted:
    """Fit anew on `rows` as `chosen` was: as many epochs, the same rates, averaged if it was."""
    learner, batches = learner_of(ratings, rows, configuration, say, tutor, world, ahead)
    settings, interruption = configuration.training, Interruption(world)
    callbacks: list[Callback] = [Reseed(batches), interruption]
    if settings.learning_rate.schedule == "plateau":
        rates = [record.figures["learning_rate"] for record in chosen.history]
        callbacks.append(Replay(rates, settings.learning_rate.warmup_epochs))
    averaging = _averaging(learner, settings) if chosen.averaged else []
    trainer = trainer_of(chosen.epochs, [*callbacks, *averaging], world, progress=progress)
    with interruption.heeded(trainer), sharing_of(ratings, settings, world):
        trainer.fit(learner, loader_of(batches))
    for average in averaging:
        learner.network.load_state_dict(average.average.module.state_dict())
    if learner.network.shallow is not None and chosen.network.shallow is not None:
        learner.network.shallow.sharpness.copy_(chosen.network.shallow.sharpness)
    return replace(
        _fitted(learner, trainer.current_epoch, interrupted=interruption.asked()),
        averaged=chosen.averaged,
    )


def _claimed(folder: Path, learner: Learner, *, resume: bool) -> Path:
    """The last checkpoint's path, once earlier fits are out of the way or known to all."""
    world, last = learner.world, folder / LAST
    if world.rank == 0:
        learner.watch.path = folder / EPOCHS
    if not resume:
        for name in (LAST, BEST, EPOCHS):
            (folder / name).unlink(missing_ok=True)
    if world.any(last.exists()) and world.any(not last.exists()):
        raise ConfigurationError(
            f"Only some of the {world.machines} machines find {last}: to resume on several, give "
            "them a --folder that all share."
        )
    return last


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
    judge = trainer_of(1, [], learner.world, progress=False)
    score = judge.validate(learner, validation, verbose=False)[0][learner.monitor]
    sign = 1 if learner.mode == "min" else -1
    if best_score is None or sign * score < sign * float(best_score):
        served = collapsed(learner.network.cpu().eval())
        return replace(best, network=served, averaged=True, epochs=len(best.history))
    learner.network.load_state_dict(kept)
    learner.network.cpu().eval()
    return best


def _restore(network: HybridVAE, checkpoint: str, trainer: pl.Trainer, world: World) -> int:
    """Load the weights of the best checkpoint; returns the epochs they have seen, or 0.

    Of several processes the first reads it: another machine need not see the file.
    """
    epochs = _read(network, checkpoint) if world.rank == 0 else 0
    world.take_after_first(network.cpu())
    return trainer.strategy.broadcast(epochs)


def _read(network: HybridVAE, checkpoint: str) -> int:
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
