"""The benchmarks still run, and check what they measure."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from models.bundle import Bundle
from tests.benchmarks import batch, fuzz
from tests.benchmarks.serving import selection
from tests.benchmarks.serving.__main__ import Bench
from tests.benchmarks.serving.candidates import candidates_needed
from tests.benchmarks.serving.load import Unanswered, ask_all
from tests.benchmarks.serving.measuring import (
    Wrong,
    check_agreement,
    measure_hits,
    measure_misses,
    questions,
    rows_of,
)
from tests.benchmarks.serving.systems import BENTOML, FASTAPI, STARLETTE, USHER
from tests.benchmarks.soak import __main__ as soak
from tests.tiny import tiny_bundle
from training import export

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.usefixtures("own_affinity")
def test_systems_are_set_against_each_other_at_the_same_job(bundle: Bundle, tmp_path: Path) -> None:
    bench = Bench(tmp_path, 0.3, 1)
    systems = [USHER, FASTAPI, BENTOML]
    with bench.serving(systems, bundle) as (servers, redis):
        check_agreement(servers, bundle)
        found = measure_misses(servers, bundle, redis, 4, 1, 0.3, itertools.count(1))
        rows = rows_of("miss", "tiny", 4, servers, found)
    assert [row.system for row in rows] == [system.name for system in systems]
    with bench.serving([USHER, FASTAPI, STARLETTE], bundle) as (servers, redis):
        rows += rows_of("hit", "tiny", 4, servers, measure_hits(servers, bundle, redis, 4, 1, 0.3))
        # The cache has lost what the same questions are to find there.
        redis.command("FLUSHALL")
        with pytest.raises((Wrong, Unanswered)):
            for server in servers:
                asked = map(server.system.ask, itertools.islice(questions(bundle, seed=0), 50))
                uvloop.run(ask_all(server.port, list(asked)))
                if redis.command("DBSIZE") != b":0\r\n":
                    raise Wrong("it was not in the cache")
    assert len(rows) == 6
    for row in rows:
        assert row.rps > 0
        assert row.cpu_us_per_request > 0
        assert 0 < row.p50_ms <= row.p99_ms
        assert row.rss_mb > 50


def test_a_system_that_answers_otherwise_is_found_out(bundle: Bundle, tmp_path: Path) -> None:
    reversed_items = replace(FASTAPI, name="backwards", items=lambda b: FASTAPI.items(b)[::-1])
    with (
        Bench(tmp_path, 0.3, 1).serving([USHER, reversed_items], bundle) as (servers, _),
        pytest.raises(Wrong, match="backwards does not recommend what usher does"),
    ):
        check_agreement(servers, bundle)


def test_both_graphs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "TWO_STAGES_FROM", 4000)
    large = tiny_bundle(tmp_path / "large", users=80, items=4000)
    found = selection.compare(large, users=80)
    assert found["users"] == 80
    assert found["same_top_10"] == found["same_top_100"] == 1
    assert found["int8_ms_batch_1_k_10"] > 0
    needed = candidates_needed(large, selection.users_of_all_lengths(large, 80))
    for k, ranks in needed.items():
        assert int(k) <= ranks["most"] <= ranks["taken"]
    assert needed["100"]["most"] > 100, "rounding moved nothing, so nothing was rounded"


def test_a_soak_sees_no_wrong_answer_and_would_see_one(bundle: Bundle, tmp_path: Path) -> None:
    other = tiny_bundle(tmp_path / "other", seed=1)
    bundles = {each.digest: each for each in (bundle, other)}
    record = tmp_path / "soak.json"
    wrong = soak.run(13.0, bundles, record)
    # Phases of a second are too short for percentiles and memory; answers are not.
    assert [line for line in wrong if "p99" not in line and "memory" not in line] == []
    told = json.loads(record.read_text())
    assert told["answers_checked"] > 100
    assert {phase["name"] for phase in told["phases"]} >= {"normal", "cache paused"}
    statuses = {name.rsplit(" ", 1)[1] for name in told["statuses"]}
    assert statuses <= {"200", "204", "503"}
    swapped = dict(zip(bundles, reversed(bundles.values()), strict=True))
    assert any("item" in line for line in soak.run(13.0, swapped, record))


@pytest.mark.usefixtures("own_affinity")
def test_a_batch_is_measured_beside_the_live_service(bundle: Bundle, tmp_path: Path) -> None:
    found = batch.run(bundle, tmp_path / "record.json", live_seconds=0.3)
    assert json.loads((tmp_path / "record.json").read_text())["rows"] == found["rows"]
    plain, warmed = found["rows"]
    assert plain["users"] == warmed["users"] == len(bundle.users)
    assert warmed["cache"]["stored"] == len(bundle.users) + 1
    assert plain["peak_rss_mb"] > plain["late_own_mb"] > 30
    assert found["live_service"]["users_per_s"] > 0


def test_random_requests_do_no_harm(bundle: Bundle) -> None:
    assert fuzz.run(4000, 7, bundle) == []


@pytest.fixture
def own_affinity() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    yield
    assert os.sched_getaffinity(0) == before


def test_the_gateway_is_measured_plain_with_keys_and_logging() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gateway", "--requests", "50"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert len(re.findall(r"logged +\d+\.\d\d us$", answer.stdout, re.MULTILINE)) == 3
