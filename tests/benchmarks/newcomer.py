"""What a newcomer waits for: from `git clone` to a rated film that changes the list.

    .venv/bin/python -m tests.benchmarks.newcomer

The README's two commands in a clone of this repository, in an empty folder with an environment and
a state of its own; ratings come from USHER_DATA_DIR, else they are synthetic where nothing can be
downloaded. Then the first film of user 1's list is rated with half a star. Writes
results/newcomer.json and exits 1 beyond LIMIT_MINUTES.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.benchmarks.serving.record import machine
from tests.service_fixtures import ROOT, await_condition, free_port
from training.accuracy.revision import revision

LIMIT_MINUTES = 10
RECORD = ROOT / "results" / "newcomer.json"
OURS = ("USHER_MODEL", "BENTOML", "MAKE", "PYTEST", "VIRTUAL_ENV", "MLFLOW")


def top(client: httpx.Client) -> list[str]:
    """The items of user 1's list."""
    answer = client.get("/v1/users/1/recommendations").raise_for_status()
    return [item["item_id"] for item in answer.json()["items"]]


def first_visit(folder: Path) -> dict[str, float]:
    """Clone, `make demo`, `make run`, rate; seconds of each step."""
    seconds: dict[str, float] = {}
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    environment |= {"PORT": str(port)}
    clone = folder / "usher"

    def step(name: str, *command: str, cwd: Path) -> None:
        began = time.monotonic()
        subprocess.run(command, cwd=cwd, env=environment, check=True)
        seconds[name] = round(time.monotonic() - began, 1)

    step("git clone", "git", "clone", "-q", str(ROOT), str(clone), cwd=folder)
    step("make demo", "make", "demo", cwd=clone)
    began = time.monotonic()
    run = subprocess.Popen(["make", "run"], cwd=clone, env=environment, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await_condition(lambda: _ready(client), "make run serves", timeout_s=120)
            before = top(client)
            address = f"/v1/users/1/ratings/{before[0]}"
            client.put(address, json={"rating": 0.5}).raise_for_status()
            after = top(client)
    finally:
        os.killpg(run.pid, signal.SIGINT)
        run.wait(timeout=60)
    seconds["make run, a film rated, the list asked again"] = round(time.monotonic() - began, 1)
    assert before[0] not in after, "the rated film is still recommended"
    return seconds


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def main() -> int:
    """Make the visit, print and record how long it took."""
    with tempfile.TemporaryDirectory(prefix="usher-newcomer-") as name:
        seconds = first_visit(Path(name))
    total = round(sum(seconds.values()), 1)
    record: dict[str, Any] = {
        "code": revision(ROOT), "machine": machine(), "seconds": seconds, "total_s": total,
        "limit_s": 60 * LIMIT_MINUTES,
    }  # fmt: skip
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    for what, took in seconds.items():
        print(f"{what:46} {took:7.1f} s")
    print(f"{'from git clone to a list that a rating changed':46} {total:7.1f} s")
    return 0 if total <= record["limit_s"] else 1


if __name__ == "__main__":
    sys.exit(main())
