"""Runs of `python -m service.batch` for tests: in this process, or in one that can be stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl

from tests.service_fixtures import ROOT, RedisServer

COMMAND = [sys.executable, "-m", "service.batch"]


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run in a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def batch(environment: Mapping[str, str], *arguments: str | Path) -> int:
    """The exit code of a run in this process, which is quicker."""
    from service.batch.__main__ import main

    with patch.dict(os.environ, environment):
        return main([str(argument) for argument in arguments])


@contextmanager
def redis_at(folder: Path, *options: str) -> Iterator[RedisServer]:
    """One more Redis server, in a folder of its own."""
    folder.mkdir()
    server = RedisServer(folder)
    server.start(*options)
    try:
        yield server
    finally:
        server.stop()


def recommended(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of all parts by user, in the order of the files; a user has them in one piece."""
    frame = pl.read_parquet(f"{out}/part-*.parquet")
    found: dict[str, list[dict[str, Any]]] = {}
    last = None
    for row in frame.iter_rows(named=True):
        user_id = row.pop("user_id")
        assert user_id == last or user_id not in found
        found.setdefault(user_id, []).append(row)
        last = user_id
    return found


def as_row(rank: int, item: Mapping[str, Any], basis: str) -> dict[str, Any]:
    """What a row must say of an item of the API's answer, numbers as float32."""
    numbers = {name: item[name] for name in ("preference_score", "predicted_rating")}
    numbers |= {"low": item["interval"]["low"], "high": item["interval"]["high"]}
    return {
        "rank": rank,
        "item_id": item["item_id"],
        "title": item["title"],
        **numbers,
        "rating": item.get("rating"),
        "basis": basis,
    }
