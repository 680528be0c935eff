"""The systems that are set against each other: how each is started and how it is asked.

Servers are held to one core and get one thread of onnxruntime; this client and Redis have another.
With more workers, each system has as many cores as workers.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from service.local.bento_server import HOST, free_port
from training.peers.environment import peer_python

PEERS = "tests.benchmarks.serving.peers"
ROOT = Path(__file__).resolve().parents[3]
READY_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Question:
    """The best ten for a user, but for one item more than those rated."""

    user_id: str
    exclude: str


@dataclass(frozen=True)
class System:
    """command: of (environments' folder, port, workers). ask: the whole request of a question."""

    name: str
    command: Callable[[Path, int, int], list[str]]
    ask: Callable[[Question], bytes]
    items: Callable[[bytes], list[str]]
    """Item ids in an answer's body."""


def _get(question: Question) -> bytes:
    path = f"/v1/users/{question.user_id}/recommendations?k=10&exclude={question.exclude}"
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def _post(path: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content


def _named(question: Question) -> dict[str, str | int]:
    return {"user_id": question.user_id, "k": 10, "exclude": question.exclude}


def _items(body: bytes) -> list[str]:
    return [item["item_id"] for item in json.loads(body)["items"]]


def _uvicorn(app: str) -> Callable[[Path, int, int], list[str]]:
    return lambda _, port, workers: [
        sys.executable, "-m", "uvicorn", f"{PEERS}.{app}:app", "--port", str(port),
        "--workers", str(workers), "--loop", "uvloop", "--http", "httptools", "--no-access-log",
        "--log-level", "warning",
    ]  # fmt: skip


def _bentoml(service: str) -> Callable[[Path, int, int], list[str]]:
    return lambda _, port, __: [
        sys.executable, "-m", "bentoml", "serve", service, "--host", HOST, "--port", str(port)
    ]  # fmt: skip


def _litserve(environments: Path, port: int, workers: int) -> list[str]:
    python = peer_python("litserve", environments).absolute()
    return [str(python), "-m", f"{PEERS}.litserve_app", str(port)]


USHER = System("usher", _bentoml("service.app:Usher"), _get, _items)
FASTAPI = System("fastapi", _uvicorn("fastapi_app"), _get, _items)
LITSERVE = System("litserve", _litserve, lambda q: _post("/predict", _named(q)), _items)
BENTOML = System(
    "bentoml-default",
    _bentoml(f"{PEERS}.bentoml_app:Peer"),
    lambda question: _post("/recommend", {"queries": [_named(question)]}),
    lambda body: _items(json.loads(body)[0]),
)
STARLETTE = System("starlette-get", _uvicorn("starlette_app"), _get, _items)


@dataclass
class Server:
    """A running system. workers: the processes that answer, the children of the first."""

    system: System
    port: int
    process: subprocess.Popen[bytes]
    started_s: float
    """From its start until it first answered."""

    def processes(self) -> list[psutil.Process]:
        """It and all below it."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Of user and system together, over all its processes."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(time.user + time.system for time in times)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stopped for the length of the block, so that nothing of it takes another's core."""
        stopped = self.processes()
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                process.resume()

    def largest(self) -> psutil.Process:
        """The process that holds the model."""
        return max(self.processes(), key=lambda process: process.memory_info().rss)

    def rss_mb(self) -> float:
        """Resident memory of the process that holds the model, shared pages included."""
        return float(self.largest().memory_info().rss / 1e6)

    def pss_mb(self) -> float:
        """The same, each shared page divided by those who share it."""
        return float(self.largest().memory_full_info().pss / 1e6)

    def memory_mb(self) -> dict[str, int]:
        """Both."""
        return {"pss": round(self.pss_mb()), "rss": round(self.rss_mb())}


@contextmanager
def running(
    system: System,
    environments: Path,
    environment: Mapping[str, str],
    cores: Sequence[int],
    probe: bytes,
    log: Path,
    workers: int = 1,
) -> Iterator[Server]:
    """A system held to some cores, once it has answered `probe`; ended with the block."""
    port = free_port()
    command = system.command(environments, port, workers)
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment),
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
    server = Server(system, port, process, 0.0)
    try:
        _await_answer(process, port, probe, log)
        server.started_s = time.monotonic() - began
        yield server
    finally:
        below = server.processes()[1:] if process.poll() is None else []
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
        for child in below:
            if child.is_running():
                child.kill()


def _await_answer(process: subprocess.Popen[bytes], port: int, probe: bytes, log: Path) -> None:
    """Until any answer comes: for the floor, which knows nobody, that is a 404."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended: {log.read_text()[-2000:]}")
        try:
            with socket.create_connection((HOST, port), timeout=10) as connection:
                connection.sendall(probe)
                head = connection.recv(65536)
                if head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404")):
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"{process.args!r} did not answer: {log.read_text()[-2000:]}")
