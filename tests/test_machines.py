"""Processes that come from several machines: they wait, compare what they were given, and fit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from pathlib import Path

import pytest
from torch import distributed

from tests.processes_parts import DATA, ROOT, command
from tests.service_fixtures import free_port
from tests.test_trainer import small
from training.cluster import Cluster
from training.errors import TrainingError
from training.fitting.crew import meeting_point
from training.fitting.processes import Processes
from training.fitting.rank import gathered
from training.ratings import Ratings
from training.report import RunReport
from training.sources import SourceSettings, load_ratings
from training.split import Split, split_ratings
from training.world import Ranks


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return load_ratings(DATA, SourceSettings(download=False))


@pytest.fixture(scope="module")
def split(ratings: Ratings) -> Split:
    return split_ratings(ratings, "random", 42)


def test_who_comes_late_is_waited_for_and_who_never_comes_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arrive(rank: int) -> set[bytes] | None:
        store = distributed.FileStore(str(tmp_path / "store"), 2)
        return gathered(store, Ranks(rank, 2), f"digest {rank}")

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(arrive, 0)
        with pytest.raises(FutureTimeout):
            first.result(timeout=1.5)
        assert arrive(1) == {b"digest 0", b"digest 1"} == first.result()
    monkeypatch.setattr("training.fitting.rank.ARRIVAL_S", 0.0)
    alone = distributed.FileStore(str(tmp_path / "other"), 2)
    assert gathered(alone, Ranks(0, 2), "digest") is None


def test_two_machines_fit_together_and_the_first_reports(tmp_path: Path) -> None:
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    runs = []
    for machine in range(2):
        words = command(tmp_path / f"machine-{machine}", "--machines", "2", "--json")
        runs.append(
            subprocess.Popen(
                [sys.executable, "-m", "training", *words],
                cwd=ROOT,
                text=True,
                env=dict(os.environ) | meeting | {"NODE_RANK": str(machine)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    (first, _), (second, told) = (run.communicate(timeout=240) for run in runs)
    assert [run.returncode for run in runs] == [0, 0], told
    report = RunReport.model_validate_json(first)
    assert len(report.epochs) == 2
    assert second == ""
    assert "the machine of rank 0 evaluates" in told
    assert not (tmp_path / "machine-1" / "report.json").exists()
    assert not (tmp_path / "machine-1" / "best.ckpt").exists()


def test_machines_that_were_given_something_else_are_told(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    cluster = Cluster(1, 2, 0, ("127.0.0.1", free_port()))
    first = Processes(cluster, ratings, small(), tmp_path / "0", print, progress=False)
    other = replace(
        first, cluster=replace(cluster, machine=1), configuration=small(max_epochs=3),
        folder=tmp_path / "1",
    )  # fmt: skip
    refused: list[TrainingError] = []

    def take_part() -> None:
        try:
            other.choose(split.fit, split.validation)
        except TrainingError as error:
            refused.append(error)

    beside = threading.Thread(target=take_part)
    with meeting_point(cluster):
        beside.start()
        with pytest.raises(TrainingError, match="2 processes were not given the same"):
            first.choose(split.fit, split.validation)
        beside.join()
    assert "were not given the same" in str(refused[0])
