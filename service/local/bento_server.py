"""The service as a child of this process: started, waited for, and ended with all it started.

It decides how `bentoml serve` is run on this machine, and that nothing of it outlives us. What it
needs from outside, a model and Redis servers, comes in its environment.
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import psutil

from service.local.redis_server import LocalError

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "127.0.0.1"
READY_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.05
LOG_TAIL_LINES = 15


class ServiceFailed(LocalError):
    """The service itself went wrong; the message ends with what its log says."""


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

    def get(self, path: str, key: str | None = None) -> tuple[int, bytes]:
        """Status and body of one GET, with an API key. Raises OSError while nothing listens."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", path, headers={"X-API-Key": key} if key else {})
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

    def wait_until_ready(self, stop: threading.Event) -> None:
        """Wait for /readyz, or `stop`. Raises ServiceFailed if it ends or takes too long."""
        deadline = monotonic() + READY_TIMEOUT_S
        while not stop.wait(POLL_S) and not self.is_ready():
            self._require_alive()
            if monotonic() > deadline:
                raise self._failure(f"The service was not ready in {READY_TIMEOUT_S:.0f} seconds")
        self._note_processes_below()

    def wait_until_stopped(self, stop: threading.Event) -> None:
        """Wait for `stop`. Raises ServiceFailed if it ends by itself."""
        while not stop.wait(POLL_S):
            self._require_alive()

    def end(self) -> None:
        """Let requests in flight finish, then leave nothing behind."""
        self._note_processes_below()
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _, alive = psutil.wait_procs(list(self.below), timeout=1)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _require_alive(self) -> None:
        if (code := self.process.poll()) is not None:
            raise self._failure(f"The service ended by itself with exit code {code}")

    def _note_processes_below(self) -> None:
        """Remember the workers: they outlive a parent that is killed."""
        if self.process.poll() is None:
            self.below |= set(psutil.Process(self.process.pid).children(recursive=True))

    def _failure(self, what: str) -> ServiceFailed:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        tail = "\n".join(f"  {line}" for line in lines)
        return ServiceFailed(f"{what}; the end of {self.log}:\n{tail}")


@contextmanager
def local_service(port: int, log: Path, environment: Mapping[str, str]) -> Iterator[LocalService]:
    """A service that was started and ends with the block; it may not be ready yet.

    Its output goes to `log`. It has a session of its own, so that a Ctrl-C reaches only us.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bentoml", "serve", "service.app:Usher"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--host", HOST, "--port", str(port), "--working-dir", str(ROOT)],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    service = LocalService(port, log, process)
    try:
        yield service
    finally:
        service.end()


def free_port(port: int = 0) -> int:
    """`port` itself if it is free, and any free one for 0. Raises LocalError if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LocalError(
                f"Port {port} cannot be used ({error.strerror}): stop what listens there, or "
                "choose another with PORT=."
            ) from None
        return int(probe.getsockname()[1])
