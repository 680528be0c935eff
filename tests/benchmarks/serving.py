"""Requests per second of the live service over HTTP, hits and misses: `make bench`.

The service, its Redis servers and this client share one machine, so the client's own work is part
of every figure. Every answer's status and X-Cache are checked: a hit that was a miss is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import platform
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from models.bundle import Bundle
from service.bundles import find_bundle
from service.local.bento_server import HOST, free_port
from service.local.running import running_service

CONNECTIONS = (1, 16)
HIT_PATHS = 50


@dataclass(frozen=True)
class Load:
    """Requests of one kind. paths: one request's path after the other, without end."""

    name: str
    cache: str
    paths: Iterator[str]


@dataclass(frozen=True)
class Measured:
    """latencies_ms: float64 [requests]. seconds: how long all of them took together."""

    load: str
    connections: int
    latencies_ms: np.ndarray[tuple[int], np.dtype[np.float64]]
    seconds: float


def hits(bundle: Bundle) -> Load:
    """The same few users again and again."""
    users = [user.decode() for user in bundle.users.ids[:HIT_PATHS]]
    paths = [f"/v1/users/{user}/recommendations?k=10" for user in users]
    return Load("hit", "hit", itertools.cycle(paths))


def misses(bundle: Bundle) -> Load:
    """Nothing is asked twice: users in random order, each time without another two items."""
    rng = np.random.default_rng(0)

    def paths() -> Iterator[str]:
        for one, other in itertools.combinations(bundle.catalog.ids, 2):
            for user in rng.permutation(bundle.users.ids):
                path = f"/v1/users/{user.decode()}/recommendations?k=10"
                yield f"{path}&exclude={one}&exclude={other}"

    return Load("miss", "miss", paths())


async def request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
) -> tuple[int, str]:
    """One GET on an open connection: status and X-Cache."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
    await reader.readexactly(int(headers["content-length"]))
    return int(head.split(" ", 2)[1]), headers.get("x-cache", "")


async def connection(port: int, load: Load, until: float) -> list[float]:
    """Ask on one connection, one request after the other, until a moment; latencies in ms."""
    reader, writer = await asyncio.open_connection(HOST, port)
    latencies = []
    while (began := perf_counter()) < until:
        path = next(load.paths)
        status, cache = await request(reader, writer, path)
        latencies.append(1000 * (perf_counter() - began))
        if (status, cache) != (200, load.cache):
            raise SystemExit(f"GET {path} answered {status}, X-Cache {cache}: not a {load.name}.")
    writer.close()
    return latencies


async def measure(port: int, load: Load, connections: int, seconds: float) -> Measured:
    """Keep `connections` connections busy for some seconds."""
    began = perf_counter()
    asked = [connection(port, load, began + seconds) for _ in range(connections)]
    latencies = list(itertools.chain.from_iterable(await asyncio.gather(*asked)))
    return Measured(load.name, connections, np.array(latencies), perf_counter() - began)


async def fill_cache(port: int, load: Load) -> None:
    """Ask for each of the hits once."""
    reader, writer = await asyncio.open_connection(HOST, port)
    for path in itertools.islice(load.paths, HIT_PATHS):
        await request(reader, writer, path)
    writer.close()


async def measure_all(port: int, bundle: Bundle, seconds: float) -> list[Measured]:
    """Misses, then hits, on each number of connections."""
    loads = (misses(bundle), hits(bundle))
    await fill_cache(port, loads[1])
    return [await measure(port, load, count, seconds) for load in loads for count in CONNECTIONS]


def print_results(results: list[Measured], bundle: Bundle) -> None:
    """One row a measurement, and what they were measured on."""
    table = Table("X-Cache", title="GET /v1/users/{user_id}/recommendations?k=10")
    for name in ("connections", "requests/s", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for result in results:
        p50, p99 = np.percentile(result.latencies_ms, (50, 99))
        rate = len(result.latencies_ms) / result.seconds
        row = (f"{result.connections}", f"{rate:,.0f}", f"{p50:.2f}", f"{p99:.2f}")
        table.add_row(result.load, *row)
    console = Console()
    console.print(table)
    libraries = ", ".join(f"{n} {version(n)}" for n in ("bentoml", "onnxruntime", "redis"))
    console.print(
        f"usher:{bundle.manifest.version}, {len(bundle.catalog)} items; {processor()}, "
        f"{os.cpu_count()} cores; Python {platform.python_version()}, {libraries}",
        highlight=False,
    )


def processor() -> str:
    """The processor's name, where the system tells it."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    models = [line.split(": ", 1)[1] for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def main() -> None:
    """Serve the newest model, or USHER_MODEL, and measure it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.serving", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row (5)")
    seconds = parser.parse_args().seconds
    for name in ("USHER_CACHE_URL", "USHER_RATINGS_URL", "USHER_API_KEYS"):
        os.environ.pop(name, None)  # a benchmark must not fill somebody's Redis, and sends no key
    bundle = find_bundle(os.environ.get("USHER_MODEL"), None)
    with (
        tempfile.TemporaryDirectory(prefix="usher-bench-") as folder,
        running_service(free_port(), Path(folder), threading.Event()) as service,
    ):
        results = uvloop.run(measure_all(service.port, bundle, seconds))
    print_results(results, bundle)


if __name__ == "__main__":
    main()
