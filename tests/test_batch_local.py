"""`make recommend-all`: model, ratings and cache of what serves from the same folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.bundles import activate
from service.local.redis_server import RATINGS, runs, shared_redis
from service.local.running import POINTER
from tests.batch_runs import recommended
from tests.service_fixtures import ROOT, free_port
from tests.test_house import make
from tests.test_local import lines_until_curl, serving


def recommend_all(state: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.local.batch", "--state", str(state)]
    return subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )


@pytest.fixture
def state(tmp_path: Path, bundle: Bundle) -> Path:
    """A folder whose pointer file names the bundle."""
    folder = tmp_path / "state"
    activate(str(bundle.path), folder / POINTER)
    return folder


def test_what_serves_from_the_folder_is_found_and_its_cache_warmed(
    state: Path, bundle: Bundle, tmp_path: Path
) -> None:
    port, item = free_port(), bundle.catalog.ids[8]
    with serving(state, port) as child:
        lines_until_curl(child)
        user = f"http://127.0.0.1:{port}/v1/users/met-just-now"
        given = httpx.put(f"{user}/ratings/{item}", json={"rating": 5}, timeout=30)
        assert given.is_success
        done = recommend_all(state, "--out", tmp_path / "out", "--warm-cache", "--json")
        assert done.returncode == 0, done.stderr
        answer = httpx.get(f"{user}/recommendations", timeout=30)
    assert answer.headers["x-cache"] == "hit"
    assert json.loads(done.stdout)["model"]["digest"] == bundle.digest
    rows = recommended(tmp_path / "out")
    assert len(rows) == len(bundle.users) + 1
    assert {row["basis"] for row in rows["met-just-now"]} == {"history"}
    items = [item["item_id"] for item in answer.json()["items"]]
    assert [row["item_id"] for row in rows["met-just-now"]] == items


def test_ratings_are_found_where_nobody_serves_but_no_cache(state: Path, tmp_path: Path) -> None:
    done = recommend_all(state, "--out", tmp_path / "out", "--warm-cache")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"There is no cache to warm: .*make run.*\n", done.stderr)
    done = recommend_all(state, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["plan"]["given_ratings"] is True
    assert not runs(RATINGS, state)


def test_a_ratings_redis_that_cannot_start_is_told(state: Path, tmp_path: Path) -> None:
    with shared_redis(RATINGS, state):
        socket = state / "redis" / "ratings" / "redis.sock"
        socket.rename(socket.with_name("elsewhere"))
        done = recommend_all(state, "--out", tmp_path / "out")
        socket.with_name("elsewhere").rename(socket)
    assert done.returncode == 2
    assert re.fullmatch(r"A Redis that does not answer .*\n", done.stderr)


def test_make_passes_its_variables_on() -> None:
    asked = ("--dry-run", "recommend-all", "OUT=a folder", "K=3", "USHER_MODEL=x")
    printed = make(ROOT, *asked, "ARGS=--genre Drama").stdout
    assert '-m service.local.batch --out "a folder" --k "3" --genre Drama\n' in printed
    printed = make(ROOT, *asked, "ARGS=--warm-only").stdout
    assert '-m service.local.batch  --k "3" --warm-only\n' in printed
