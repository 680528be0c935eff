"""Ctrl-C, or a polite request to end, while a network is fitted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
from lightning.pytorch.utilities.exceptions import SIGTERMException


@contextmanager
def graceful_interrupt(trainer: pl.Trainer) -> Iterator[threading.Event]:
    """First Ctrl-C: finish the batch and stop; the event is set. Second: KeyboardInterrupt.

    SIGTERM, which Lightning watches for itself, ends the run after the batch and sets the event.

    Lightning's own handling ends the process, and with it what was learnt. Outside the main
    thread, which alone hears of signals, nothing is changed.
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
    except SIGTERMException:
        interrupted.set()
    finally:
        signal.signal(signal.SIGINT, before)
