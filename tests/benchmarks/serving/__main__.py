"""Set the service against the same job done otherwise: `make bench`.

Everything is on loopback, with a Redis of its own, and ends by itself. Systems run side by side and
are asked in turns, so that ratios within a run hold on a noisy machine. Servers share the first
core, one thread of onnxruntime each; this client and Redis have the last.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from models.bundle import Bundle
from service.bundles import find_bundle
from tests.benchmarks.serving import measuring, selection
from tests.benchmarks.serving.bars import Bar, bars_of
from tests.benchmarks.serving.bundles import CATALOGUES, LARGE, Catalogue, bundle_of
from tests.benchmarks.serving.candidates import candidates_needed
from tests.benchmarks.serving.record import Row, processor, write
from tests.benchmarks.serving.systems import (
    BENTOML,
    FASTAPI,
    LITSERVE,
    STARLETTE,
    USHER,
    Question,
    Server,
    System,
    running,
)
from tests.service_fixtures import RedisServer
from training.accuracy.revision import revision
from training.code_digest import ROOT

CONNECTIONS = (1, 16, 64)
CANDIDATES_OF = 1000
CORES = sorted(os.sched_getaffinity(0))
SERVED, ASKING = CORES[:1], CORES[-1:]
console = Console()


class Bench:
    """One run: what it was asked for, and what it has found."""

    def __init__(self, state: Path, seconds: float, rounds: int) -> None:
        self.state = state
        self.seconds = seconds
        self.rounds = rounds
        self.rows: list[Row] = []
        self.other: dict[str, Any] = {
            "code": revision(ROOT),
            "pinning": f"servers on core {SERVED}, client and Redis on core {ASKING}; "
            "one thread of onnxruntime in each server; while one is asked the others are paused",
            "seconds": seconds,
            "rounds": rounds,
            "start_s": {},
            "memory_at_start_mb": {},
            "memory_after_load_mb": {},
        }
        self._seeds = itertools.count(1)

    @contextmanager
    def serving(
        self, systems: Sequence[System], bundle: Bundle, workers: int = 1
    ) -> Iterator[tuple[list[Server], RedisServer]]:
        """Systems that run, and the Redis they share."""
        with tempfile.TemporaryDirectory(prefix="usher-bench-") as name, ExitStack() as stack:
            folder = Path(name)
            redis = RedisServer(folder)
            redis.start()
            stack.callback(redis.stop)
            os.sched_setaffinity(redis.pid, ASKING)
            cores = CORES[:workers]
            environment = {
                "BENCH_BUNDLE": str(bundle.path),
                "BENCH_REDIS": redis.url,
                "USHER_MODEL": str(bundle.path),
                "USHER_CACHE_URL": redis.url,
                "USHER_RATINGS_URL": "",
                "USHER_API_KEYS": "",
                "USHER_WORKERS": str(workers),
                "BENTOML_HOME": str(folder / "bentoml"),
            }
            anybody = Question(bundle.users.ids[0].decode(), bundle.catalog.ids[0])
            servers = [
                stack.enter_context(
                    running(
                        system, self.state / "peers", environment, cores, system.ask(anybody),
                        folder / f"{system.name}.log", workers,
                    )
                )
                for system in systems
            ]  # fmt: skip
            yield servers, redis

    def misses(self, catalogue: Catalogue, bundle: Bundle) -> None:
        """All that can answer, on every number of connections."""
        with self.serving((USHER, FASTAPI, LITSERVE, BENTOML), bundle) as (servers, redis):
            measuring.check_agreement(servers, bundle)
            for connections in CONNECTIONS:
                found = measuring.measure_misses(
                    servers, bundle, redis, connections, self.rounds, self.seconds, self._seeds
                )
                self._add(measuring.rows_of("miss", catalogue.name, connections, servers, found))

    def hits(self, catalogue: Catalogue, bundle: Bundle) -> None:
        """Those that send what is cached."""
        with self.serving((USHER, FASTAPI, STARLETTE), bundle) as (servers, redis):
            for connections in CONNECTIONS:
                found = measuring.measure_hits(
                    servers, bundle, redis, connections, self.rounds, self.seconds
                )
                self._add(measuring.rows_of("hit", catalogue.name, connections, servers, found))

    def alone(self, bundle: Bundle, workers: int) -> None:
        """Usher and nobody else: the start, misses, memory after them.

        Two workers have both cores, of which this client takes its part; they get 64 connections,
        then 64 each.
        """
        name = f"{workers} worker{'s' if workers > 1 else ''}"
        with self.serving((USHER,), bundle, workers) as (servers, redis):
            self.other["start_s"][name] = round(servers[0].started_s, 2)
            self.other["memory_at_start_mb"][name] = servers[0].memory_mb()
            for connections in dict.fromkeys((64, 64 * workers)):
                found = measuring.measure_misses(
                    servers, bundle, redis, connections, self.rounds, self.seconds, self._seeds
                )
                if workers > 1:
                    rows = measuring.rows_of(
                        "miss", LARGE.name, connections, servers, found, workers
                    )
                    self._add(rows)
            self.other["memory_after_load_mb"][name] = servers[0].memory_mb()

    def _add(self, rows: list[Row]) -> None:
        self.rows += rows
        for row in rows:
            console.print(
                f"{row.scenario:5} {row.catalogue:13} {row.connections:3} connections  "
                f"{row.system:16} {row.rps:9,.0f}/s  {row.cpu_us_per_request:7,.0f} us CPU  "
                f"p50 {row.p50_ms:7.2f}  p99 {row.p99_ms:7.2f} ms",
                highlight=False,
                soft_wrap=True,
            )


def print_bars(bars: Sequence[Bar]) -> None:
    """Each ratio and its bar."""
    table = Table("ratio", title=f"{LARGE.name}; {processor()}")
    for name in ("measured", "bar", ""):
        table.add_column(name, justify="right")
    for bar in bars:
        table.add_row(
            bar.name,
            f"{bar.value:.3g}",
            f"{bar.sense} {bar.limit:g}",
            "met" if bar.met else "MISSED",
        )
    console.print(table)


def main() -> None:
    """Measure all, or the graphs of one model alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.serving", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round (2)")
    parser.add_argument("--rounds", type=int, default=3, help="of each row (3)")
    parser.add_argument("--record", type=Path, default=Path("results/bench.json"))
    parser.add_argument(
        "--state", type=Path, default=Path(".usher"), help="bundles, peers (.usher)"
    )
    parser.add_argument("--model", help="of this model alone: how selection on int8 fares")
    asked = parser.parse_args()
    if asked.model:
        bundle = find_bundle(asked.model, None)
        rows = selection.users_of_all_lengths(bundle, CANDIDATES_OF)
        found: dict[str, Any] = {"candidates": candidates_needed(bundle, rows)}
        if bundle.recommend_int8_graph is not None:
            found |= selection.compare(bundle)
        console.print_json(data=found)
        return
    os.sched_setaffinity(0, ASKING)
    bench = Bench(asked.state, asked.seconds, asked.rounds)
    large = None
    for catalogue in CATALOGUES:
        bundle = bundle_of(catalogue, asked.state / "bench", console.print)
        bench.hits(catalogue, bundle)
        bench.misses(catalogue, bundle)
        large = bundle
    assert large is not None
    for workers in (1, 2):
        bench.alone(large, workers)
    bench.other["graph"] = selection.compare(large)
    bars = bars_of(bench.rows, bench.other, LARGE.name)
    write(asked.record, bench.rows, bars, bench.other)
    print_bars(bars)


if __name__ == "__main__":
    main()
