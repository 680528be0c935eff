"""One of several processes that fit a network: `python -m training.fitting.rank FOLDER NUMBER`.

Started by `crew`, which it obeys: it reads its orders and its share, meets the others, fits, and
the first of a machine leaves the network. It ends with whoever started it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from torch import distributed

from training.errors import TrainingError
from training.fitting.devices import SILENCE, accelerator
from training.fitting.finished import keep_finished, take_up
from training.fitting.initial import blank_network
from training.fitting.orders import CHOSEN, FITTED, RENDEZVOUS, SAID, Orders, write_refusal
from training.fitting.share_files import read_share
from training.fitting.trainer import Fitted, follow, refit
from training.world import Ranks, World

ARRIVAL_S = 1800.0
"""How long the first process waits for the last: machines may fit teachers before."""
LOOK_EVERY_S = 0.05


def main(place: Path, number: int) -> int:
    """Carry out the orders in `place` as process `number` of this machine; 1 if it cannot be."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    orders = Orders.read(place)
    try:
        world = _meet(orders, place, number)
        fitted = _fit(orders, place, number, world)
    except TrainingError as error:
        write_refusal(error, place, number)
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is over: nothing is left to interrupt
    if number == 0:
        keep_finished(fitted, place / FITTED)
    distributed.destroy_process_group()
    return 0


def _end_with_parent() -> None:
    """Its end of our standard input closes when it ends, however it does."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _meet(orders: Orders, place: Path, number: int) -> World:
    """Raises TrainingError if not all come, or not with the same in mind."""
    size = orders.processes * orders.machines
    world = Ranks(orders.machine * orders.processes + number, size, orders.machines)
    where = "here" if orders.address is None else "at {}:{}".format(*orders.address)
    apart = TrainingError(
        f"Not all {size} processes met {where} within {ARRIVAL_S / 60:.0f} minutes: start the same "
        "command on every machine, each with its own --machine-rank."
    )
    try:
        store = _store(orders, place, size)
        digests = gathered(store, world, orders.digest)
    except distributed.DistError:
        raise apart from None
    if digests is None:
        raise apart
    if len(digests) > 1:
        raise TrainingError(
            f"The {size} processes were not given the same configuration, ratings, split and "
            "number of processes: start the same command on every machine."
        )
    gpu = accelerator(orders.processes) == "cuda"
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo",
        store=store, rank=world.rank, world_size=size, timeout=SILENCE,
    )  # fmt: skip
    return world


def _store(orders: Orders, place: Path, size: int) -> distributed.Store:
    if orders.address is None:
        return distributed.FileStore(str(place / RENDEZVOUS), size)
    host, port = orders.address
    meeting = distributed.TCPStore(host, port, timeout=timedelta(seconds=ARRIVAL_S))
    return distributed.PrefixStore(orders.name, meeting)


def gathered(store: distributed.Store, world: World, digest: str) -> set[bytes] | None:
    """What all have brought; None if not all came in time.

    It looks now and then: a process that waits in the store is deaf to signals.
    """
    store.set(f"here-{world.rank}", digest)
    everybody = [f"here-{rank}" for rank in range(world.size)]
    late = time.monotonic() + ARRIVAL_S
    while not store.check(everybody):
        if time.monotonic() > late:
            return None
        time.sleep(LOOK_EVERY_S)
    return {store.get(name) for name in everybody}


def _fit(orders: Orders, place: Path, number: int, world: World) -> Fitted:
    share, say = read_share(place, number), _voice(place, world)
    if orders.step == "choose":
        return follow(
            share.ratings, share.rows, share.fold, orders.configuration, orders.folder, say,
            resume=orders.resume, progress=orders.progress, save_every_s=orders.save_every_s,
            tutor=share.tutor, world=world, ahead=share.ahead,
        )  # fmt: skip
    chosen = take_up(place / CHOSEN, blank_network(share.ratings, orders.configuration))
    return refit(
        share.ratings, share.rows, chosen, orders.configuration, say, progress=orders.progress,
        tutor=share.tutor, world=world, ahead=share.ahead,
    )  # fmt: skip


def _voice(place: Path, world: World) -> Callable[[str], None]:
    """The first process speaks for all, to whoever started it."""

    def say(text: str) -> None:
        if world.rank == 0:
            with (place / SAID).open("a") as said:
                said.write(f"{text}\n")

    return say


def _leave(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell what happened and end at once: a connection that is torn down half-way aborts.

    torch calls this with its own stand-in for the standard error, to be printed afterwards.
    """
    traceback.print_exception(kind, error, trace, file=sys.__stderr__)
    os._exit(1)


if __name__ == "__main__":
    sys.excepthook = _leave
    if main(Path(sys.argv[1]), int(sys.argv[2])):
        os._exit(1)
