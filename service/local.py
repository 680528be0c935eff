"""Run the service on this machine: `python -m service.local serve` and `... demo`.

It decides what has to run: a cache and a ratings Redis where none is configured, then the service;
and that all of it ends on Ctrl-C, on SIGTERM, and when a part of it fails.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

from models.bundle import UserHistories
from service.local_redis import CACHE, RATINGS, LocalError, shared_redis
from service.local_service import ROOT, LocalService, free_port, local_service


@contextmanager
def running_service(port: int, state: Path, stop: threading.Event) -> Iterator[LocalService]:
    """The service on `port` (0: a free one) with what it needs, ready unless `stop` was set.

    All of it ends with the block. Raises LocalError if a part of it does not start.
    """
    port = free_port(port)
    environment = local_environment(state)
    if not environment.get("USHER_MODEL") and newest_model(environment) is None:
        raise LocalError(f"There is no model in {environment['BENTOML_HOME']}: run make train.")
    with ExitStack() as stack:
        for role, name in ((CACHE, "USHER_CACHE_URL"), (RATINGS, "USHER_RATINGS_URL")):
            if not environment.get(name):
                environment[name] = stack.enter_context(shared_redis(role, state))
        log = state / "logs" / f"serve-{port}.log"
        service = stack.enter_context(local_service(port, log, environment))
        service.wait_until_ready(stop)
        yield service


def serve(port: int, state: Path, stop: threading.Event) -> None:
    """Serve until asked to stop."""
    with running_service(port, state, stop) as service:
        if stop.is_set():
            return
        user = quote(known_user(local_environment(state)))
        print(f"Usher answers on {service.url}; Ctrl-C stops it. Its log is {service.log}.")
        if not os.environ.get("USHER_RATINGS_URL"):
            print(f"Ratings given to it are kept in {state / 'redis' / RATINGS.name}.")
        print(f"Try: curl '{service.url}/v1/users/{user}/recommendations?k=10'", flush=True)
        service.wait_until_stopped(stop)


def demo(state: Path, stop: threading.Event) -> None:
    """Serve on a free port, ask for one user's top 10 over HTTP, print it, and stop."""
    with running_service(0, state, stop) as service:
        if stop.is_set():
            raise LocalError("Stopped before the service was ready.")
        path = f"/v1/users/{quote(known_user(local_environment(state)))}/recommendations?k=10"
        began = time.perf_counter()
        status, body = service.get(path)
        took_ms = 1000 * (time.perf_counter() - began)
        if status != 200:
            raise LocalError(f"GET {service.url}{path} answered {status}: {body.decode()}")
        print_answer(json.loads(body), f"GET {path} answered in {took_ms:.1f} ms")


def print_answer(answer: Mapping[str, Any], caption: str) -> None:
    """One user's recommendations as a table."""
    from rich.console import Console
    from rich.table import Table

    title = f"User {answer['user_id']}, model usher:{answer['model']['version']}"
    table = Table("", "item", "genres", title=title, caption=caption)
    table.add_column("predicted rating", justify="right")
    table.add_column("interval", justify="right")
    for rank, item in enumerate(answer["items"], start=1):
        interval = f"{item['interval']['low']:.2f} to {item['interval']['high']:.2f}"
        rating, genres = f"{item['predicted_rating']:.2f}", ", ".join(item["genres"])
        table.add_row(str(rank), item["title"], genres, rating, interval)
    Console().print(table)


def local_environment(state: Path) -> dict[str, str]:
    """The environment of the service: ours, and the state folder's model store by default."""
    defaults = {"BENTOML_HOME": str(state.resolve() / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    return defaults | dict(os.environ)


def newest_model(environment: Mapping[str, str]) -> Path | None:
    """Folder of the newest bundle in BentoML's store, which keeps its version in `latest`."""
    store = Path(environment["BENTOML_HOME"]) / "models" / "usher"
    latest = store / "latest"
    return store / latest.read_text().strip() if latest.exists() else None


def known_user(environment: Mapping[str, str]) -> str:
    """The id of a user of the model, to ask about; any id where its bundle is not at hand."""
    model = environment.get("USHER_MODEL", "").removeprefix("usher:")
    if model and Path(model).is_dir():
        folder: Path | None = Path(model)
    else:
        newest = newest_model(environment)
        folder = newest.with_name(model) if newest and model not in ("", "latest") else newest
    try:
        return str(UserHistories.read(folder / "histories").ids[0].decode()) if folder else "1"
    except (OSError, IndexError):
        return "1"


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C, SIGTERM and a closed terminal set, so that none interrupts an end."""
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, ask_to_stop)
    return stop


def port_number(text: str) -> int:
    """A port from the command line. Raises ArgumentTypeError with what a port is."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: give a number from 1 to 65535")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m service.local", description=__doc__)
    parser.add_argument("command", choices=("serve", "demo"))
    parser.add_argument("--port", type=port_number, default=3000, help="where serve listens (3000)")
    parser.add_argument("--state", type=Path, default=ROOT / ".usher", help="models, logs, ratings")
    chosen = parser.parse_args(arguments)
    stop = stop_on_signals()
    try:
        if chosen.command == "demo":
            demo(chosen.state, stop)
        else:
            serve(chosen.port, chosen.state, stop)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
