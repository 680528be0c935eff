"""What the gateway costs a request: `python -m tests.benchmarks.gateway`.

The gateway alone, around an application that answers at once: microseconds of this process for each
request, the least of several rounds, since whatever else runs here only adds. To compare two
versions of it, run this at both.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import time
from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send

from service.edge.access_log import AccessLog
from service.edge.gateway import CACHE_STATE, Gateway
from service.edge.keys import KeyRing
from service.metrics import Metrics
from service.serving import Serving
from service.settings import Settings

KEY = "benchmark-key-0123456789"
ROUNDS = 7
BODY = b"x" * 2000
ROUTE = SimpleNamespace(path="/v1/users/{user_id}/recommendations")
REQUEST_HEADERS = [
    (b"host", b"127.0.0.1:3000"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"user-agent", b"benchmark"),
    (b"x-api-key", KEY.encode()),
]
ANSWER_HEADERS = [
    (b"content-length", str(len(BODY)).encode()),
    (b"x-cache", b"hit"),
    (b"etag", b'W/"00000000000000000000000000000000"'),
    (b"cache-control", b"private, no-cache"),
    (b"content-type", b"application/json"),
]


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that has its answer at hand."""
    scope["route"], scope[CACHE_STATE] = ROUTE, "hit"
    await send({"type": "http.response.start", "status": 200, "headers": [*ANSWER_HEADERS]})
    await send({"type": "http.response.body", "body": BODY})


async def receive() -> Message:
    """A server that has no body to give."""
    return {"type": "http.disconnect"}


async def send(message: MutableMapping[str, Any]) -> None:
    """A server that takes everything at once."""


def gateway(keys: tuple[str, ...], share: float, sink: int) -> Gateway:
    """A gateway as a worker has it, its access log on the descriptor `sink`."""
    metrics = Metrics(CollectorRegistry())
    access_log = AccessLog(sink, metrics, share, 60.0, 10_000, random.Random(0))
    keys_held = KeyRing(keys, metrics)
    return Gateway(answer, Serving(Settings(), metrics, keys=keys_held, access_log=access_log))


async def measure(asked: Gateway, requests: int) -> float:
    """Microseconds a request, the writing of its line included."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(requests):
            scope = {
                "type": "http",
                "method": "GET",
                "path": "/v1/users/1/recommendations",
                "query_string": b"k=10",
                "headers": REQUEST_HEADERS,
            }
            await asked(scope, receive, send)
        rounds.append(1e6 * (time.process_time() - began) / requests)
    return min(rounds)


def main() -> None:
    """Measure it plain, with keys, and with every request logged."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gateway", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="in each round (20000)")
    requests = parser.parse_args().requests
    sink = os.open(os.devnull, os.O_WRONLY)
    two_keys = ("another-key-0123456789", KEY)
    for name, keys, share in (
        ("plain, 1% logged", (), 0.01),
        ("two keys, 1% logged", two_keys, 0.01),
        ("plain, all logged", (), 1.0),
    ):
        took = uvloop.run(measure(gateway(keys, share, sink), requests))
        print(f"{name:20} {took:6.2f} us")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
