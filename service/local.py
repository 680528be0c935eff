"""Run the service on this machine: `python -m service.local serve` and `... demo`.

It decides what has to run (two Redis servers where none is configured, then `bentoml serve`), waits
until the service is ready, says where it is, and ends everything it started: on Ctrl-C, on SIGTERM,
and when a part of it fails. What the service does with a request is not its business.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import psutil

from models.bundle import UserHistories
from service.local_redis import CACHE, RATINGS, LocalError, Role, shared_redis

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
READY_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.05
LOG_TAIL_LINES = 15


@dataclass
class LocalService:
    """A `bentoml serve` of our own, and the processes below it."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]
    below: set[psutil.Process] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of one GET. Raises OSError while nothing listens."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def is_ready(self) -> bool:
        """Whether every part of it is up."""
        try:
            return self.get("/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def note_processes_below(self) -> None:
        """Remember the workers: they outlive a parent that is killed."""
        if self.process.poll() is None:
            self.below |= set(psutil.Process(self.process.pid).children(recursive=True))

    def end(self) -> None:
        """Let requests in flight finish, then leave nothing behind."""
        self.note_processes_below()
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _, alive = psutil.wait_procs(list(self.below), timeout=1)
        for process in alive:
            process.kill()

    def failure(self, what: str) -> LocalError:
        """What to say when it failed: what happened, and the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        tail = "\n".join(f"  {line}" for line in lines)
        return LocalError(f"{what}; the end of {self.log}:\n{tail}")


@contextmanager
def local_service(port: int, state: Path, stop: threading.Event) -> Iterator[LocalService]:
    """The service on `port`, ready, with what it needs; all of it ends with the block.

    port 0 takes a free one. Raises LocalError if a part of it does not start; if `stop` is set
    while it starts, the service may not be ready yet.
    """
    port = port_for(port)
    environment = local_environment(state)
    require_model(environment)
    with ExitStack() as stack:
        for role, name in ((CACHE, "USHER_CACHE_URL"), (RATINGS, "USHER_RATINGS_URL")):
            if not environment.get(name):
                environment[name] = stack.enter_context(shared_redis(role, state))
        service = start(port, state, environment)
        stack.callback(service.end)
        wait_until_ready(service, stop)
        yield service


def start(port: int, state: Path, environment: dict[str, str]) -> LocalService:
    """Start `bentoml serve` in a session of its own, so that a Ctrl-C reaches only us."""
    log = state / "logs" / f"serve-{port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bentoml", "serve", "service.app:Usher"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--host", HOST, "--port", str(port), "--working-dir", str(ROOT)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    return LocalService(port, log, process)


def wait_until_ready(service: LocalService, stop: threading.Event) -> None:
    """Wait for /readyz. Raises LocalError if the service ends or takes too long."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not stop.wait(POLL_S) and not service.is_ready():
        service.note_processes_below()
        if (code := service.process.poll()) is not None:
            raise service.failure(f"The service ended with exit code {code} before it was ready")
        if time.monotonic() > deadline:
            raise service.failure(f"The service was not ready within {READY_TIMEOUT_S:.0f} seconds")
    service.note_processes_below()


def wait_until_stopped(service: LocalService, stop: threading.Event) -> None:
    """Wait until somebody asks us to stop. Raises LocalError if the service ends by itself."""
    while not stop.wait(POLL_S):
        if (code := service.process.poll()) is not None:
            raise service.failure(f"The service ended with exit code {code}")


def port_for(port: int) -> int:
    """`port` itself if it is free, and a free one for 0. Raises LocalError if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LocalError(
                f"Port {port} cannot be used ({error.strerror}): stop what listens there or choose "
                "another with PORT=."
            ) from None
        return int(probe.getsockname()[1])


def local_environment(state: Path) -> dict[str, str]:
    """The environment of the service: ours, with the state folder's model store by default."""
    defaults = {"BENTOML_HOME": str(state.resolve() / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    return defaults | dict(os.environ)


def require_model(environment: dict[str, str]) -> None:
    """Raise LocalError where there is no model to serve, before anything starts."""
    if not environment.get("USHER_MODEL") and newest_model(environment) is None:
        raise LocalError(f"There is no model in {environment['BENTOML_HOME']}: run make train.")


def newest_model(environment: dict[str, str]) -> Path | None:
    """Folder of the newest bundle in BentoML's store, which keeps its name in `latest`."""
    store = Path(environment["BENTOML_HOME"]) / "models" / "usher"
    latest = store / "latest"
    return store / latest.read_text().strip() if latest.exists() else None


def known_user(environment: dict[str, str]) -> str:
    """The id of a user of the model, to ask about; any id if the bundle is not at hand."""
    model = environment.get("USHER_MODEL", "").removeprefix("usher:")
    newest = newest_model(environment)
    folder = newest.with_name(model) if newest and model not in ("", "latest") else newest
    if Path(model).is_dir():
        folder = Path(model)
    try:
        return str(UserHistories.read(folder / "histories").ids[0].decode()) if folder else "1"
    except (OSError, IndexError):
        return "1"


def serve(port: int, state: Path, stop: threading.Event) -> None:
    """Serve until asked to stop."""
    with local_service(port, state, stop) as service:
        if stop.is_set():
            return
        user = quote(known_user(local_environment(state)))
        print(f"Usher answers on {service.url}; Ctrl-C stops it. Its log is {service.log}.")
        if not os.environ.get("USHER_RATINGS_URL"):
            print(f"Ratings given to it are kept in {state / 'redis' / RATINGS.name}.")
        print(f"Try: curl '{service.url}/v1/users/{user}/recommendations?k=10'", flush=True)
        wait_until_stopped(service, stop)


def demo(state: Path, stop: threading.Event) -> None:
    """Serve on a free port, ask for one user's top 10 over HTTP, print it, and stop."""
    with local_service(0, state, stop) as service:
        if stop.is_set():
            raise LocalError("Stopped before the service was ready.")
        user = known_user(local_environment(state))
        path = f"/v1/users/{quote(user)}/recommendations?k=10"
        began = time.perf_counter()
        status, body = service.get(path)
        took_ms = 1000 * (time.perf_counter() - began)
        if status != 200:
            raise LocalError(f"GET {service.url}{path} answered {status}: {body.decode()}")
        print_answer(json.loads(body), f"GET {path} answered in {took_ms:.1f} ms")


def print_answer(answer: dict[str, Any], caption: str) -> None:
    """One user's recommendations as a table."""
    from rich.console import Console
    from rich.table import Table

    title = f"User {answer['user_id']}, model usher:{answer['model']['version']}"
    table = Table("", "item", "genres", title=title, caption=caption)
    table.add_column("predicted rating", justify="right")
    table.add_column("interval", justify="right")
    for rank, item in enumerate(answer["items"], start=1):
        low, high = item["interval"]["low"], item["interval"]["high"]
        rating, interval = f"{item['predicted_rating']:.2f}", f"{low:.2f} to {high:.2f}"
        table.add_row(str(rank), item["title"], ", ".join(item["genres"]), rating, interval)
    Console().print(table)


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C, SIGTERM and a closed terminal set; none of them interrupts a clean-up."""
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, ask_to_stop)
    return stop


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m service.local", description=__doc__)
    parser.add_argument("command", choices=("serve", "demo"))
    parser.add_argument("--port", type=int, choices=range(1, 65536), metavar="1..65535")
    parser.add_argument("--state", type=Path, default=ROOT / ".usher", metavar="FOLDER")
    chosen = parser.parse_args(arguments)
    stop = stop_on_signals()
    try:
        if chosen.command == "demo":
            demo(chosen.state, stop)
        else:
            serve(chosen.port or 3000, chosen.state, stop)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
