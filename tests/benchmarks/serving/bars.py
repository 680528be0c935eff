"""What the service is held to: ratios of rows of one run, and the few figures that no row has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.benchmarks.serving.record import Row


@dataclass(frozen=True)
class Bar:
    """A ratio, and what it should be: `>=` or `<=` the limit."""

    name: str
    value: float
    sense: str
    limit: float

    @property
    def met(self) -> bool:
        """Whether it is what it should be."""
        return self.value >= self.limit if self.sense == ">=" else self.value <= self.limit


def bars_of(rows: Sequence[Row], other: dict[str, Any], catalogue: str) -> list[Bar]:
    """Each bar of one catalogue; `other` holds the graph's figures, memory and the start."""
    by_name = {
        (row.scenario, row.system, row.connections, row.workers): row
        for row in rows
        if row.catalogue == catalogue
    }
    hit, hit_fastapi, floor = (
        by_name["hit", name, 16, 1] for name in ("usher", "fastapi", "starlette-get")
    )
    miss, fastapi, litserve, bentoml = (
        by_name["miss", name, 64, 1] for name in ("usher", "fastapi", "litserve", "bentoml-default")
    )
    two = by_name["miss", "usher", 128, 2]  # 64 connections to each, as the one has
    graph = other["graph"]
    hit_cpu, miss_cpu = hit.cpu_us_per_request, miss.cpu_us_per_request
    one_request = graph["int8_ms_batch_1_k_10"] / graph["fp32_ms_batch_1_k_10"]
    memory = {name: mb["pss"] for name, mb in other["memory_after_load_mb"].items()}
    told = (
        ("hits per CPU second, of fastapi's", hit_fastapi.cpu_us_per_request / hit_cpu, ">=", 0.9),
        ("hits per CPU second, of the floor's", floor.cpu_us_per_request / hit_cpu, ">=", 0.45),
        ("hits: p99 of p50 at 16 connections", hit.p99_ms / hit.p50_ms, "<=", 5),
        ("misses/s at 64 connections, of fastapi's", miss.rps / fastapi.rps, ">=", 4),
        ("misses/s at 64 connections, of bentoml-default's", miss.rps / bentoml.rps, ">=", 4),
        ("misses/s at 64 connections, of litserve's", miss.rps / litserve.rps, ">=", 2.5),
        ("misses: p99 of fastapi's", miss.p99_ms / fastapi.p99_ms, "<=", 1),
        ("graph of one request: time of float32's", one_request, "<=", 0.5),
        ("users with the same top 10 as float32", graph["same_top_10"], ">=", 1),
        ("users with the same top 100 as float32", graph["same_top_100"], ">=", 1),
        ("MB of each of two workers (PSS) after load", memory["2 workers"], "<=", 350),
        ("MB of a worker alone (PSS) after load", memory["1 worker"], "<=", 350),
        ("seconds from start to the first answer", other["start_s"]["1 worker"], "<=", 3),
        ("CPU of a miss: two workers, of one's", two.cpu_us_per_request / miss_cpu, "<=", 1.2),
    )
    return [Bar(name, round(value, 4), sense, limit) for name, value, sense, limit in told]
