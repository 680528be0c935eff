"""How many users a second a batch answers, and its memory: `python -m tests.benchmarks.batch`.

On 87,585 items and 200,000 synthetic users (made once, minutes), each time everybody's top 10:
Parquet alone; then with a rating that each twentieth user gave, the cache warmed as well; and
beside them the live service, asked for 100 users at a time. results/recommend_all.json says what
was seen. Seconds of CPU are told beside those of the clock, which a busy machine stretches.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import uvloop
from prometheus_client import CollectorRegistry
from rich.console import Console

from models.bundle import Bundle
from service.batch.folder import part_name
from service.bundles import find_bundle
from service.metrics import Metrics
from service.stores.ratings import Given, RatingsStore, RepeatingPipeline
from service.stores.redis_link import RedisLink
from tests.batch_runs import redis_at
from tests.benchmarks.serving.bundles import LARGE, bundle_of
from tests.benchmarks.serving.load import keep_busy
from tests.benchmarks.serving.record import machine
from tests.benchmarks.serving.systems import USHER, running
from training.accuracy.revision import revision
from training.code_digest import ROOT

SAMPLED_S = 0.2
GAVE = 20  # every so-many-th user
USERS_AT_ONCE = 100
console = Console()


@dataclass(frozen=True)
class Sample:
    """Resident memory of the process when so many parts were there.

    own_mb: without the pages of mapped files, which are the kernel's and others' as well.
    """

    parts: int
    rss_mb: float
    own_mb: float


@dataclass(frozen=True)
class Row:
    """One run. early and late: medians while the second and the last tenth was computed."""

    name: str
    users: int
    seconds: float
    users_per_s: float
    cpu_s: float
    cpu_us_per_user: float
    cores_used: float
    peak_rss_mb: float
    early_own_mb: float
    late_own_mb: float
    out_mb: float
    cache: dict[str, int] | None
    memory: list[Sample]


def measured(name: str, out: Path, environment: Mapping[str, str], *options: str) -> Row:
    """A run of the command in a process of its own, its memory watched."""
    command = [sys.executable, "-m", "service.batch", "--out", str(out), "--json", *options]
    whole = os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment)
    with subprocess.Popen(command, cwd=ROOT, env=whole, stdout=subprocess.PIPE) as child:
        samples = list(_samples(child, out))
        assert child.stdout is not None
        told = json.loads(child.stdout.read() or "null")
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}.")
    parts, seconds = told["parts"], told["seconds"]
    row = Row(
        name=name,
        users=told["users"],
        seconds=seconds,
        users_per_s=told["users_per_s"],
        cpu_s=told["cpu_s"],
        cpu_us_per_user=round(1e6 * told["cpu_s"] / told["users"], 1),
        cores_used=round(told["cpu_s"] / seconds, 2),
        peak_rss_mb=told["peak_rss_mb"],
        early_own_mb=_median_own(samples, parts // 10, parts // 5),
        late_own_mb=_median_own(samples, parts - max(1, parts // 10), parts),
        out_mb=round(told["bytes"] / 1e6, 1),
        cache=told["cache"],
        memory=[max(each, key=lambda sample: sample.own_mb) for each in _by_parts(samples)],
    )
    console.print(
        f"{row.name}: {row.users_per_s:,.0f} users/s, {row.seconds:.0f} s, "
        f"{row.cpu_us_per_user:.0f} us of CPU each, "
        f"{row.early_own_mb:.0f} MB of its own early and {row.late_own_mb:.0f} late",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    return row


def _samples(child: subprocess.Popen[bytes], out: Path) -> Iterator[Sample]:
    process, parts = psutil.Process(child.pid), 0
    while child.poll() is None:
        try:
            memory = process.memory_info()
        except psutil.Error:  # it has just ended
            return
        while (out / part_name(parts)).exists():
            parts += 1
        own = memory.rss - memory.shared
        yield Sample(parts, round(memory.rss / 1e6, 1), round(own / 1e6, 1))
        time.sleep(SAMPLED_S)


def _by_parts(samples: list[Sample]) -> Iterator[list[Sample]]:
    for _, each in itertools.groupby(samples, key=lambda sample: sample.parts):
        yield list(each)


def _median_own(samples: list[Sample], first: int, end: int) -> float:
    """Of the samples taken while parts first..end - 1 were the next."""
    return median(s.own_mb for s in samples if first <= s.parts < max(end, first + 1))


async def give_ratings(bundle: Bundle, url: str) -> None:
    """Have every twentieth user give one rating more."""
    store = RatingsStore(RepeatingPipeline(RedisLink(url, 5.0, 1), 1), Metrics(CollectorRegistry()))
    highest = bundle.manifest.rating_scale.maximum
    for number, user in enumerate(bundle.users.ids[::GAVE].tolist()):
        item = bundle.catalog.ids[number % len(bundle.catalog)]
        await store.change(user.decode(), {item: Given(highest, 1_700_000_000)})
    await store.close()


def live(bundle: Bundle, folder: Path, seconds: float) -> dict[str, Any]:
    """The service on all cores, two connections to a core, asked for 100 users at a time."""
    cores = sorted(os.sched_getaffinity(0))
    environment = {"USHER_MODEL": str(bundle.path), "USHER_WORKERS": str(len(cores))}
    environment |= {"USHER_CACHE_URL": "", "USHER_RATINGS_URL": "", "USHER_API_KEYS": ""}
    environment["BENTOML_HOME"] = str(folder / "bentoml")
    requests = _posts(bundle)
    first, log = next(requests), folder / "service.log"
    with running(USHER, folder, environment, cores, first, log, len(cores)) as server:
        before = server.cpu_seconds()
        timed = uvloop.run(keep_busy(server.port, requests, 2 * len(cores), seconds))
        spent = server.cpu_seconds() - before
    users = USERS_AT_ONCE * len(timed.latencies_ms)
    return {
        "users_per_request": USERS_AT_ONCE,
        "connections": 2 * len(cores),
        "workers": len(cores),
        "users": users,
        "users_per_s": round(users / timed.seconds, 1),
        "cpu_us_per_user": round(1e6 * spent / users, 1),
    }


def _posts(bundle: Bundle) -> Iterator[bytes]:
    users = itertools.cycle(user.decode() for user in bundle.users.ids.tolist())
    while named := list(itertools.islice(users, USERS_AT_ONCE)):
        body = json.dumps({"user_ids": named, "k": 10}).encode()
        head = "POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def run(bundle: Bundle, record: Path, live_seconds: float, *options: str) -> dict[str, Any]:
    """Measure all and write the record."""
    base = {"USHER_MODEL": str(bundle.path), "USHER_CACHE_URL": "", "USHER_RATINGS_URL": ""}
    with tempfile.TemporaryDirectory(prefix="usher-batch-") as name:
        folder = Path(name)
        rows = [measured("Parquet", folder / "plain", base, *options)]
        with redis_at(folder / "cache") as cache, redis_at(folder / "ratings") as ratings:
            asyncio.run(give_ratings(bundle, ratings.url))
            where = base | {"USHER_CACHE_URL": cache.url, "USHER_RATINGS_URL": ratings.url}
            rows.append(
                measured(
                    "Parquet and cache, with given ratings", folder / "warm", where,
                    "--warm-cache", *options,
                )
            )  # fmt: skip
        asked = live(bundle, folder, live_seconds)
    content = {
        "code": revision(ROOT),
        "machine": machine(),
        "data": bundle.manifest.data.model_dump(include={"source", "users", "items", "ratings"}),
        "load": os.getloadavg(),
        "rows": [asdict(row) for row in rows],
        "live_service": asked,
        "times_as_fast_as_live": round(rows[0].users_per_s / asked["users_per_s"], 2),
        "share_of_its_cpu": round(rows[0].cpu_us_per_user / asked["cpu_us_per_user"], 2),
    }
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(content, indent=1) + "\n")
    return content


def main() -> None:
    """Measure, and print what the live service makes of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.batch", description=__doc__)
    parser.add_argument("--record", type=Path, default=Path("results/recommend_all.json"))
    parser.add_argument("--state", type=Path, default=Path(".usher"), help="bundles (.usher)")
    parser.add_argument("--model", help="a tag or a folder, instead of the synthetic bundle")
    parser.add_argument("--live-seconds", type=float, default=20.0, help="of the service (20)")
    asked = parser.parse_args()
    bundle = (
        find_bundle(asked.model, None)
        if asked.model
        else bundle_of(LARGE, asked.state / "bench", console.print)
    )
    content = run(bundle, asked.record, asked.live_seconds)
    console.print(content["live_service"], content["times_as_fast_as_live"])


if __name__ == "__main__":
    main()
