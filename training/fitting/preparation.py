"""What a fit is made of: a learner and its batches, a trainer, and how the cores are used."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from training.config import Configuration, Optimisation
from training.fitting.batches import Batch, DenoisingBatches
from training.fitting.cores import Ahead, threads_for
from training.fitting.devices import devices_of
from training.fitting.initial import HeadStart, build_network
from training.fitting.learner import Learner
from training.fitting.negatives import Proposal
from training.fitting.time_effects import ratings_as_of
from training.fitting.watch import Watch
from training.ratings import Ratings
from training.teachers.teacher import Tutor
from training.world import World


def learner_of(
    ratings: Ratings,
    rows: NDArray[np.int64],
    configuration: Configuration,
    say: Callable[[str], None],
    tutor: Tutor | None,
    world: World,
    ahead: HeadStart | None,
) -> tuple[Learner, DenoisingBatches]:
    """An untrained network's learner, and the batches it learns from: of this process's users."""
    teacher = tutor.ratings.teacher if tutor and tutor.ratings else None
    network = build_network(ratings, rows, configuration, teacher, world=world, ahead=ahead)
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
        Proposal.of(histories, items, liked_from, draws, world) if draws else None,
        settings.mixup,
        None if told is ratings else told.histories(rows),
        world,
    )
    watch = Watch(say, f"validation_{settings.monitor}", settings.monitor == "rmse")
    return Learner(network, settings, len(batches), watch, world), batches


def sharing_of(
    ratings: Ratings, settings: Optimisation, world: World
) -> AbstractContextManager[None]:
    """One thread for small steps: a process has its part of a batch only."""
    return threads_for(settings.batch_users // world.size, len(ratings.catalog))


def trainer_of(
    epochs: int, callbacks: list[Callback], world: World, *, progress: bool
) -> pl.Trainer:
    """Lightning's trainer, silent but for its progress."""
    _quieten()
    if progress:
        callbacks = [*callbacks, RichProgressBar(leave=False)]
    return pl.Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        **devices_of(world),
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=progress,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
    )


def _quieten() -> None:
    """Lightning advertises, and warns of what is meant: no workers, no logger, no fold."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")


def loader_of(batches: IterableDataset[Batch]) -> DataLoader[Batch]:
    """The batches, each made while the one before is learnt from."""
    # A generator of its own: DataLoader draws a seed from the global one at every pass.
    return DataLoader(Ahead(batches), batch_size=None, generator=torch.Generator())
