"""Ctrl-C, or a polite request to end, while a network is fitted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from training.world import World


class Interruption(Callback):
    """Stops a fit that was asked to stop; of several processes, all after the same batch.

    A process that stopped by itself would leave the others waiting for it, so there a request is
    only noted, and acted upon once all know of it.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._asked = threading.Event()

    @contextmanager
    def heeded(self, trainer: pl.Trainer) -> Iterator[None]:
        """First Ctrl-C: finish the batch and stop. Second: KeyboardInterrupt.

        SIGTERM, which Lightning watches for itself, ends the run after the batch too. Lightning's
        own handling of Ctrl-C ends the process, and with it what was learnt. Outside the main
        thread, which alone hears of signals, nothing is changed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(signum: int, frame: object) -> None:
            if self._asked.is_set():
                raise KeyboardInterrupt
            self._asked.set()
            trainer.should_stop = self.world.size == 1

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        except SIGTERMException:
            self._asked.set()
        finally:
            signal.signal(signal.SIGINT, before)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Of several processes none may follow SIGTERM alone, as Lightning would have it."""
        if self.world.size > 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda signum, frame: self._asked.set())

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: object) -> None:
        """Stop if any process was asked to."""
        if self.world.any(self._asked.is_set()):
            trainer.should_stop = True

    def asked(self) -> bool:
        """Whether any process was asked to stop; all must ask."""
        return self.world.any(self._asked.is_set())
