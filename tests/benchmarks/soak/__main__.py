"""Ten minutes of mixed load with everything failing in turn: `make soak`.

On loopback, with both Redis of its own. Every answer to a writer is held against the model's own
word, computed here; results/soak.json says what was seen. Exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np
import psutil
import uvloop
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.bundle import Bundle
from service.bundles import activate
from tests.benchmarks.serving.bundles import SMALL, bundle_of
from tests.benchmarks.serving.load import keep_busy
from tests.benchmarks.serving.measuring import questions
from tests.benchmarks.serving.record import machine
from tests.benchmarks.serving.systems import USHER
from tests.benchmarks.soak.callers import Book, Callers
from tests.benchmarks.soak.faults import DURABLE, Faults, Phase
from tests.oracle import Oracle
from tests.service_fixtures import RedisServer, Service, running_service
from training.accuracy.revision import revision
from training.code_digest import ROOT

WRITERS, READERS = 8, 8
SHARE_OF_CAPACITY, MOST_PER_S = 0.4, 400.0
OUTAGES = ("cache killed, restarted empty", "cache paused", "cache answers garbage")
P99_ABOVE_NORMAL_MS = 50.0
GROWTH_MB = 16.0
console = Console()


@dataclass(frozen=True)
class Summary:
    """Of the phases of one name, recommendations answered with 200."""

    name: str
    answers: int
    p50_ms: float | None
    p99_ms: float | None
    """None without an answer: while the ratings Redis is away there is none."""
    rss_mb: float
    """At the end of the last of them."""


class Memory:
    """Resident memory of the worker, sampled every second."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.samples: list[tuple[float, float]] = []

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            workers = [self._process, *self._process.children(recursive=True)]
            largest = max(worker.memory_info().rss for worker in workers)
            self.samples.append((perf_counter(), largest / 1e6))
            await asyncio.sleep(1.0)

    def at(self, moment: float) -> float:
        """The median of the five seconds before a moment."""
        before = [mb for taken, mb in self.samples if moment - 5 <= taken <= moment]
        return float(np.median(before)) if before else float("nan")


def summaries(phases: list[Phase], book: Book, memory: Memory) -> list[Summary]:
    """One of each name, in the order of their first."""
    moments = np.array([moment for moment, _ in book.latencies])
    took = np.array([ms for _, ms in book.latencies])
    found = []
    for name in dict.fromkeys(phase.name for phase in phases):
        mine = [phase for phase in phases if phase.name == name]
        inside = np.zeros(len(moments), np.bool_)
        for phase in mine:
            inside |= (moments >= phase.begins) & (moments < phase.ends)
        p50, p99 = _percentiles(took[inside])
        found.append(
            Summary(
                name, int(inside.sum()), p50, p99, round(memory.at(mine[-1].ends), 1)
            )
        )  # fmt: skip
    return found


def _percentiles(milliseconds: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """The median and the 99th percentile, None of none."""
    if not len(milliseconds):
        return None, None
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return round(float(p50), 2), round(float(p99), 2)


def complaints(found: list[Summary], phases: list[Phase], memory: Memory, book: Book) -> list[str]:
    """Everything that is not as it should be."""
    told = list(dict.fromkeys(book.wrong))[:20]
    p99 = {summary.name: summary.p99_ms for summary in found}
    for outage in OUTAGES:
        during, normal = p99[outage], p99["normal"]
        if during is None or normal is None:
            told.append(f"{outage}: nobody was answered")
        elif during - normal > P99_ABOVE_NORMAL_MS:
            told.append(f"{outage}: p99 is {during - normal:.0f} ms above normal")
    swapped = [place for place, phase in enumerate(phases) if phase.name.startswith("model")]
    for begin, end in ((1, swapped[0]), (swapped[0] + 1, swapped[1])):
        grown = memory.at(phases[end - 1].ends) - memory.at(phases[begin].begins)
        if grown > GROWTH_MB:
            told.append(f"memory grew by {grown:.0f} MB between swaps")
    return told


async def capacity(port: int, bundle: Bundle) -> float:
    """Misses a second at 16 connections."""
    asked = map(USHER.ask, questions(bundle, seed=0))
    return (await keep_busy(port, asked, 16, 5.0)).per_second


async def soak(
    service: Service, faults: Faults, book: Book, bundle: Bundle, seconds: float
) -> tuple[Memory, float]:
    """The whole run; the memory it saw and the rate it asked at."""
    port = int(service.url.rsplit(":", 1)[1])
    rate = min(MOST_PER_S, SHARE_OF_CAPACITY * await capacity(port, bundle))
    memory = Memory(psutil.Process(service.process.pid))
    watching = asyncio.create_task(memory.watch())
    limits = httpx.Limits(max_connections=WRITERS + READERS)
    async with httpx.AsyncClient(base_url=service.url, timeout=30, limits=limits) as client:
        rng = random.Random(0)
        known = [user.decode() for user in bundle.users.ids[:100]]
        items = [bundle.catalog.ids[i] for i in range(0, len(bundle.catalog), 40)]
        scale = bundle.manifest.rating_scale.levels.tolist()
        callers = Callers(client, book, rate, rng, known, items, scale)
        calling = asyncio.create_task(callers.run(WRITERS, READERS))
        await faults.run(seconds)
        callers.stopping = True
        await calling
    watching.cancel()
    return memory, rate


def two_bundles(state: Path) -> dict[str, Bundle]:
    """The small catalogue's bundle and one of other weights, by digest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [bundle_of(SMALL, state / "bench", console.print, seed) for seed in (0, 1)]
    return {bundle.digest: bundle for bundle in found}


def run(seconds: float, bundles: dict[str, Bundle], record: Path) -> list[str]:
    """Set everything up, soak with two bundles, write the record; what was wrong."""
    first = next(iter(bundles.values()))
    with tempfile.TemporaryDirectory(prefix="usher-soak-") as name, ThreadPoolExecutor(1) as one:
        folder = Path(name)
        for made in ("cache", "ratings"):
            (folder / made).mkdir()
        cache, ratings = RedisServer(folder / "cache"), RedisServer(folder / "ratings")
        pointer = folder / "active-model"
        activate(str(first.path), pointer)
        oracles = {digest: Oracle(bundle, one) for digest, bundle in bundles.items()}
        book = Book(oracles, [first.digest])
        folders = {digest: str(bundle.path) for digest, bundle in bundles.items()}
        faults = Faults(cache, ratings, pointer, book, folders, [])
        environment = {
            "USHER_MODEL_POINTER": str(pointer),
            "USHER_CACHE_URL": cache.url,
            "USHER_RATINGS_URL": ratings.url,
            "USHER_API_KEYS": "",
        }
        cache.start()
        ratings.start(*DURABLE)
        try:
            with running_service(folder, **environment) as service:
                memory, rate = uvloop.run(soak(service, faults, book, first, seconds))
                if "Traceback" in service.log.read_text():
                    book.wrong.append("the log holds a traceback")
        finally:
            cache.stop()
            ratings.stop()
    found = summaries(faults.phases, book, memory)
    wrong = complaints(found, faults.phases, memory, book)
    write(record, found, book, wrong, {"seconds": seconds, "requests_per_s": round(rate)})
    print_summaries(found, book, wrong, rate)
    return wrong


def write(
    record: Path, found: list[Summary], book: Book, wrong: list[str], asked: dict[str, Any]
) -> None:
    """Replace the record."""
    content = {
        "code": revision(ROOT),
        "machine": machine(),
        **asked,
        "statuses": {f"{what} {status}": n for (what, status), n in sorted(book.statuses.items())},
        "answers_checked": book.checked,
        "phases": [asdict(summary) for summary in found],
        "wrong": wrong,
    }
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(content, indent=1) + "\n")


def print_summaries(found: list[Summary], book: Book, wrong: list[str], rate: float) -> None:
    """A table, and what was wrong."""
    table = Table("phase", title=f"{rate:.0f} requests/s, {book.checked} answers checked")
    for name in ("answers", "p50 ms", "p99 ms", "RSS MB"):
        table.add_column(name, justify="right")
    for row in found:
        times = ("-" if ms is None else f"{ms}" for ms in (row.p50_ms, row.p99_ms))
        table.add_row(row.name, f"{row.answers}", *times, f"{row.rss_mb}")
    console.print(table)
    for (what, status), count in sorted(book.statuses.items()):
        console.print(f"{what} {status}: {count}", highlight=False)
    for line in wrong:
        console.print(f"WRONG: {line}", highlight=False)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of load (600)")
    parser.add_argument("--record", type=Path, default=Path("results/soak.json"))
    parser.add_argument("--state", type=Path, default=Path(".usher"), help="where bundles are kept")
    asked = parser.parse_args()
    os.chdir(ROOT)
    sys.exit(1 if run(asked.seconds, two_bundles(asked.state), asked.record) else 0)


if __name__ == "__main__":
    main()
