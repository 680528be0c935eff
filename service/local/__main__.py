"""Run the service on this machine: `python -m service.local --help`.

It decides what has to run: a cache and a ratings Redis where none is configured, then the service;
and that all of it ends on Ctrl-C, on SIGTERM, and when a part of it fails. What can be asked is in
command_line.py.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

from models.bundle import BundleError, UserHistories
from service.bundles import DEFAULT_TAG, activate, locate, pointed_at
from service.errors import ServiceError
from service.local.bento_server import ServiceFailed, free_port
from service.local.command_line import GIVEN, parser
from service.local.redis_server import RATINGS, LocalError, shared_redis
from service.local.running import POINTER, running_service
from service.settings import read_settings
from service.stores.pull import pull_ratings


class Stopped(Exception):
    """Somebody asked for the end before there was a result."""


def serve(port: int, state: Path, stop: threading.Event) -> None:
    """Serve until asked to stop."""
    key = "-H 'X-API-Key: YOUR-KEY' " if own_key() else ""
    path = recommendations_of(known_user(state / POINTER))
    with running_service(port, state, stop) as service:
        if stop.is_set():
            return
        print(f"Usher answers on {service.url}; Ctrl-C stops it. Its log is {service.log}.")
        if not os.environ.get("USHER_RATINGS_URL"):
            folder = state / "redis" / RATINGS.name
            print(f"Ratings people give are kept in {folder}.")
        print(f"Try: curl {key}'{service.url}{path}'", flush=True)
        service.wait_until_stopped(stop)


def demo(port: int, state: Path, stop: threading.Event) -> None:
    """Serve, ask for one user's top 10 over HTTP, print it, and stop."""
    key = own_key()
    path = recommendations_of(known_user(state / POINTER))
    with running_service(port, state, stop) as service:
        if stop.is_set():
            raise Stopped("Stopped before the service was ready.")
        began = time.perf_counter()
        status, body = service.get(path, key)
        took_ms = 1000 * (time.perf_counter() - began)
        if status != 200:
            raise ServiceFailed(f"GET {service.url}{path} answered {status}: {body.decode()}")
        print_answer(json.loads(body), f"GET {path} answered in {took_ms:.1f} ms")


def own_key() -> str | None:
    """One of the keys the service will ask for, if it asks. Raises SettingsRefused."""
    keys = read_settings().api_keys
    return keys[0].get_secret_value() if keys else None


def point(state: Path, model: str) -> None:
    """Have the services of this folder, those running included, serve `model`."""
    pointer = Path(os.environ.get("USHER_MODEL_POINTER") or state / POINTER)
    bundle = activate(model, pointer)
    print(
        f"usher:{bundle.manifest.version} (digest {bundle.digest[:12]}) is active: {pointer} names "
        "it, and running services follow within seconds."
    )


def pull(state: Path, path: Path) -> None:
    """Write the ratings people gave to `path`, from the Redis configured or this machine's own."""
    with ExitStack() as stack:
        url = os.environ.get("USHER_RATINGS_URL")
        url = url or stack.enter_context(shared_redis(RATINGS, state))
        pulled = pull_ratings(url, path)
    print(
        f"{pulled.given} ratings given and {pulled.taken_back} taken back by {pulled.users} users "
        f"are in {path}; lay them over the data they were given about with "
        f'make train ARGS="--given-ratings {path}".'
    )


def known_user(pointer: Path) -> str:
    """The id of the first user of the model that will be served.

    Raises BundleMissing where there is no such model.
    """
    model = os.environ.get("USHER_MODEL") or pointed_at(pointer) or DEFAULT_TAG
    histories = locate(model) / "histories"
    try:
        return str(UserHistories.read(histories).ids[0].decode())
    except (OSError, ValueError, IndexError):  # whether a bundle is whole is the service's to say
        return "1"


def recommendations_of(user: str) -> str:
    """The path of one user's top 10."""
    return f"/v1/users/{quote(user)}/recommendations?k=10"


def print_answer(answer: Mapping[str, Any], caption: str) -> None:
    """One user's recommendations as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    title = f"User {answer['user_id']}, model usher:{answer['model']['version']}"
    table = Table("", "item", "genres", title=title, caption=caption, box=box.SIMPLE_HEAD)
    coverage = answer["items"][0]["interval"]["coverage"] if answer["items"] else 0.0
    for name in ("predicted\nrating", f"{coverage:.0%}\ninterval"):
        table.add_column(name, justify="right", no_wrap=True)
    for rank, item in enumerate(answer["items"], start=1):
        interval = f"{item['interval']['low']:.2f} to {item['interval']['high']:.2f}"
        rating, genres = f"{item['predicted_rating']:.2f}", ", ".join(item["genres"])
        title = f"{item['title']} ({item['year']})" if item["year"] else item["title"]
        table.add_row(str(rank), title, genres, rating, interval)
    Console().print(table)


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C, SIGTERM and a closed terminal set, so that none interrupts an end."""
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, ask_to_stop)
    return stop


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    chosen = parser().parse_args(arguments)
    state = chosen.state.resolve()
    os.environ.setdefault("BENTOML_HOME", str(state / "bentoml"))
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    stop = stop_on_signals()
    try:
        if chosen.command == "demo":
            demo(free_port(), state, stop)
        elif chosen.command == "activate":
            point(state, chosen.model)
        elif chosen.command == "pull":
            pull(state, chosen.to or state / GIVEN)
        else:
            serve(free_port(chosen.port), state, stop)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 130
    except ServiceFailed as failed:
        print(failed, file=sys.stderr)
        return 1
    except (LocalError, BundleError, ServiceError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
