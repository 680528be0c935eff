"""Starts the processes of this machine for one fit, and watches over them until all have ended.

None may be left behind or waited for in vain: when one ends badly the others, who would wait for
it, are ended too, and the reason is told in one sentence. Ctrl-C is passed on, so that all stop
after the same batch; they themselves are out of the terminal's reach.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torch import distributed

from training.cluster import Cluster
from training.errors import ConfigurationError, TrainingError
from training.fitting.orders import SAID, Orders, read_refusal
from training.peers.environment import ROOT, last_line

LOOK_EVERY_S = 0.1
GRACE_S = 10.0
"""How long the others may take to notice that one has ended, and to end by themselves."""


@contextmanager
def meeting_point(cluster: Cluster) -> Iterator[None]:
    """Where processes of several machines find each other, as long as fits go on.

    Raises ConfigurationError if the first machine cannot listen at its address.
    """
    if cluster.address is None or not cluster.leads:
        yield
        return
    host, port = cluster.address
    try:
        store = distributed.TCPStore(host, port, is_master=True, wait_for_workers=False)
    except distributed.DistError:
        raise ConfigurationError(
            f"Nobody can be met at {host}:{port}: --main-address names a free port of this "
            "machine, under a name that the other machines know it by."
        ) from None
    yield
    del store


def carry_out(orders: Orders, place: Path, say: Callable[[str], None]) -> None:
    """Have the orders in `place` carried out; returns once every process has ended well.

    Raises what a process refused, TrainingError if one was lost, and KeyboardInterrupt if the
    processes were interrupted before they had begun, or twice.
    """
    with ExitStack() as stack:
        started = [
            stack.enter_context(_started(orders, place, number))
            for number in range(orders.processes)
        ]
        interrupted = stack.enter_context(_passing_on_signals(started))
        _watch(started, _Voice(place / SAID, say))
        lost = [number for number, process in enumerate(started) if process.returncode]
        if not lost:
            return
        if interrupted.is_set():
            raise KeyboardInterrupt
        raise _reason(orders, place, {number: started[number] for number in lost})


@contextmanager
def _started(orders: Orders, place: Path, number: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process, ended at the end whatever happened; what it complains of goes to a file."""
    shown = None if orders.progress and number == 0 else subprocess.DEVNULL
    with _log(orders, number).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "training.fitting.rank", place, str(number)],
            cwd=ROOT, env=dict(os.environ) | _environment(orders, number),
            stdin=subprocess.PIPE, stdout=shown, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        path = _log(orders, number)
        if not process.returncode or not path.stat().st_size:
            path.unlink()


def _environment(orders: Orders, number: int) -> dict[str, str]:
    """Who it is, as Lightning reads it; its part of the cores; nobody else's network."""
    threads = max(1, (os.cpu_count() or 1) // orders.processes)
    found = {"LOCAL_RANK": str(number), "NODE_RANK": str(orders.machine)}
    found["GROUP_RANK"] = found["NODE_RANK"]
    if "OMP_NUM_THREADS" not in os.environ:
        found["OMP_NUM_THREADS"] = str(threads)
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if orders.machines == 1 and loopback:
        found["GLOO_SOCKET_IFNAME"] = loopback[0]
    return found


@contextmanager
def _passing_on_signals(started: list[subprocess.Popen[bytes]]) -> Iterator[threading.Event]:
    """The first request to end is passed on as Ctrl-C; a second one is KeyboardInterrupt here."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def pass_on(signum: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        for process in started:
            process.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Voice:
    """Says what the first process writes to a file, line by line."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path = path
        self.say = say
        self._said = 0

    def speak(self) -> None:
        """Say what is new."""
        lines = self.path.read_text().split("\n")[:-1] if self.path.exists() else []
        for line in lines[self._said :]:
            self.say(line)
        self._said = len(lines)


def _watch(started: list[subprocess.Popen[bytes]], voice: _Voice) -> None:
    """Wait until all have ended, or one has ended badly and the others had their time."""
    give_up = float("inf")
    while living := [process for process in started if process.poll() is None]:
        voice.speak()
        if give_up == float("inf") and any(process.returncode for process in started):
            give_up = time.monotonic() + GRACE_S
        if time.monotonic() > give_up:
            break
        try:
            living[0].wait(LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            continue
    voice.speak()


def _reason(orders: Orders, place: Path, lost: dict[int, subprocess.Popen[bytes]]) -> TrainingError:
    """Why processes ended badly: what one refused, else who was killed, else who failed."""
    for number in lost:
        refusal = read_refusal(place, number)
        if refusal is not None:
            return refusal
    # Whoever was killed was the first: the others only found their connection closed.
    number = min(lost, key=lambda number: lost[number].returncode)
    code = lost[number].returncode
    who = f"Process {number + 1} of {orders.processes} on this machine"
    goes_on = "the same command with --resume goes on from the last checkpoint."
    if code < 0:
        guess = ", as a machine out of memory does" if code == -signal.SIGKILL else ""
        return TrainingError(f"{who} was ended by {signal.Signals(-code).name}{guess}; {goes_on}")
    log = _log(orders, number)
    said = last_line(log.read_text(errors="replace"))
    return TrainingError(f"{who} failed ({said}; all of it is in {log}); {goes_on}")


def _log(orders: Orders, number: int) -> Path:
    return orders.folder / f"process-{orders.machine}-{number}.log"
