"""The experiment record: what MLflow is told of every run, and how the runs are listed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.printed import printed
from tests.test_run import DATA, SMALL, report_of
from training.__main__ import main
from training.accuracy.command import Job, measure
from training.accuracy.plan import Cell
from training.accuracy.record import Record
from training.errors import TrainingDiverged
from training.experiments.entry import Finished, Started
from training.experiments.listing import Listed, differing, listed_runs, ranked
from training.experiments.recording import recorded
from training.experiments.store import FOLDER, open_store
from training.experiments.table import differences_table, runs_table
from training.flat_settings import flattened
from training.sources import SourceSettings

STATE = Path(".usher")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


class Teller:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, text: str) -> None:
        self.lines.append(text)


def begun(model: str = "best", seed: int | None = 1, **parameters: object) -> Started:
    return Started(
        command="evaluate", model=model, seed=seed, data="ml-1m", data_digest="d1",
        protocol="random", split_digest="s1", code="c1", parameters=parameters,
    )  # fmt: skip


def record(run: Started, rmse: float | None, ndcg: float | None = None) -> None:
    given = {"rmse": rmse, "ndcg@100": ndcg}
    figures = {"test": {name: value for name, value in given.items() if value is not None}}
    with recorded(run, STATE, pytest.fail) as recording:
        recording.finish(Finished(figures, {"total": 60.0}))


def test_a_run_is_recorded_with_all_that_its_report_says(tmp_path: Path) -> None:
    assert main(["evaluate", "--data", DATA, "--folder", "run", "--seed=3", *SMALL]) == 0
    report = report_of(tmp_path / "run")
    client = open_store(STATE)
    experiment = client.get_experiment_by_name(f"{report.data.source} random")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    for name, value in {
        "seed": "3", "command": "evaluate", "code": report.code_version, "outcome": "finished",
        "data_digest": report.data.digest, "split_digest": report.split_digest,
    }.items():  # fmt: skip
        assert run.data.tags[name] == value
    assert run.data.params["network.hidden_dims"] == "[16]"
    assert run.data.params["training.kl.weight"] == "0.01"
    for fold, scores in (
        ("validation", report.validation.of("hybrid-vae")),
        ("test", report.tests[0].of("hybrid-vae")),
    ):
        for figure, measured in scores.metrics.items():
            assert run.data.metrics[f"{fold}.{figure.replace('@', '_at_')}"] == measured
    assert run.data.metrics["seconds.total"] == pytest.approx(sum(report.seconds.values()))
    curve = client.get_metric_history(run.info.run_id, "epoch.validation_rmse")
    assert [(point.step, point.value) for point in sorted(curve, key=lambda p: p.step)] == [
        (epoch["epoch"], epoch["validation_rmse"]) for epoch in report.epochs
    ]
    kept = next((tmp_path / ".usher" / FOLDER).rglob("artifacts/report.json"))
    assert kept.read_text() == (tmp_path / "run" / "report.json").read_text()


def test_a_cell_of_accuracy_is_recorded(tmp_path: Path) -> None:
    teller, sources = Teller(), SourceSettings(download=False)
    bias, absent = Cell(DATA, "random", "bias", None), Cell(DATA, "temporal-ish", "bias", None)
    record = Record(tmp_path / "accuracy.json")
    measure(Job([bias, absent], record, STATE, sources, teller))
    (run,) = listed_runs(STATE)
    (row,) = record.read().rows
    assert (run.command, run.model, run.seed, run.outcome) == ("accuracy", "bias", None, "finished")
    assert run.figure("rmse") == row.rmse
    assert run.figure("ndcg") == row.ndcg_100
    assert run.split_digest == row.split_digest


def test_a_run_that_diverged_is_marked_with_the_epochs_it_came_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steep = ["--set=training.learning_rate.initial=1e30", "--set=training.learning_rate.schedule"]
    arguments = [*SMALL, f"{steep[1]}=constant", "--set=training.learning_rate.warmup_epochs=0"]
    assert main(["evaluate", "--data", DATA, "--folder", "run", *arguments, steep[0]]) == 2
    assert "Lower the learning rate" in capsys.readouterr().err
    (run,) = listed_runs(STATE)
    assert run.outcome == "diverged"
    assert "Lower the learning rate" in run.why
    assert run.warnings == json.loads((tmp_path / "run" / "epochs.json").read_text())["warnings"]
    assert len(run.warnings) >= 1
    assert run.figures == {}


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [
        (KeyboardInterrupt(), "interrupted", "KILLED"),
        (TrainingDiverged("NaN"), "diverged", "FAILED"),
        (ValueError("no"), "failed", "FAILED"),
        (None, "interrupted", "KILLED"),
    ],
)
def test_what_did_not_finish_is_marked_so_and_passes_through(
    error: BaseException | None, outcome: str, status: str
) -> None:
    caught = None
    try:
        with recorded(begun(), STATE, pytest.fail):
            if error is not None:
                raise error
    except BaseException as passed:
        caught = passed
    assert caught is error
    (run,) = listed_runs(STATE)
    assert run.outcome == outcome
    assert open_store(STATE).get_run(run.run_id).info.status == status


def test_an_interrupted_run_keeps_its_curves(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    epochs = [{"epoch": 1, "kl": 0.5}, {"epoch": 2, "kl": 0.4}]
    run = begun()
    run = Started(**(vars(run) | {"folder": folder}))
    with recorded(run, STATE, pytest.fail):
        content = {"epochs": epochs, "warnings": ["it memorises."]}
        (folder / "epochs.json").write_text(json.dumps(content))
    (listed,) = listed_runs(STATE)
    assert listed.warnings == ["it memorises."]
    curve = open_store(STATE).get_metric_history(listed.run_id, "epoch.kl")
    assert {point.step: point.value for point in curve} == {1: 0.5, 2: 0.4}


def test_a_record_that_cannot_be_written_loses_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "file" / "store").as_uri())
    assert main(["evaluate", "--data", DATA, "--folder", "run", *SMALL]) == 0
    assert report_of(tmp_path / "run").tests
    told = capsys.readouterr().err
    assert told.count("not wholly, in the experiment record") == 1
    assert "Traceback" not in told
    assert main(["experiments"]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_record_that_breaks_half_way_is_told_once(tmp_path: Path) -> None:
    teller = Teller()
    with recorded(begun(), STATE, teller) as recording:
        for path in (tmp_path / ".usher" / FOLDER).rglob("meta.yaml"):
            path.unlink()
        recording.finish(Finished({"test": {"rmse": 0.9}}, {"total": 1.0}))
    assert len(teller.lines) == 1
    assert recording.finished


@pytest.fixture
def runs() -> Iterator[list[Listed]]:
    record(begun(seed=1, width=8, kl={"weight": 0.1}), 0.9, 0.3)
    record(begun(seed=2, width=16, kl={"weight": 0.1}), 0.8, 0.2)
    record(begun(seed=3, width=8, kl={"weight": 0.1}), math.nan)
    record(begun("bias", None, ridge=5), 0.95, 0.1)
    with recorded(begun(seed=4, width=8), STATE, pytest.fail):
        pass
    yield listed_runs(STATE)


def test_runs_are_ordered_from_best_to_worst(runs: list[Listed]) -> None:
    by_rmse = ranked(runs, "rmse")[("ml-1m", "random")]
    assert [run.name for run in by_rmse][:3] == ["best-2", "best-1", "bias"]
    by_ndcg = ranked(runs, "ndcg")[("ml-1m", "random")]
    assert [run.name for run in by_ndcg][:3] == ["best-1", "best-2", "bias"]
    assert {run.name for run in by_rmse[3:]} == {"best-3", "best-4"}


def test_what_differs_is_shown_side_by_side(runs: list[Listed]) -> None:
    place, ordered = next(iter(ranked(runs, "rmse").items()))
    best = [run for run in ordered if run.name in ("best-1", "best-2")]
    assert differing(best) == {"width": ["16", "8"]}
    table = differences_table(ordered)
    assert table is not None
    text = printed(runs_table(place, ordered, "rmse"), table, width=160)
    assert next(line for line in text.splitlines() if "best-2" in line).count("0.8000") == 1
    assert "interrupted" in text
    assert any(line.split()[1] == "width" for line in text.splitlines() if "width" in line)
    assert "ridge" in text
    assert differences_table([run for run in ordered if run.name == "best-2"]) is None


def test_the_list_can_be_narrowed_and_read_by_machines(
    runs: list[Listed], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["experiments", "--json", "--last", "2"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {run["name"] for run in printed} == {"best-4", "bias"}
    assert main(["experiments", "--data", "ml-100k"]) == 0
    assert "No such run" in capsys.readouterr().err
    assert main(["experiments", "--protocol", "random", "--by", "ndcg"]) == 0
    assert "best-2" in capsys.readouterr().out


def test_parameters_are_flattened() -> None:
    nested = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": "text", "f": None, "g": {}}
    assert dict(flattened(nested)) == {"a.b": "1", "a.c.d": "[1, 2]", "e": "text", "f": "null"}


def test_mlflow_is_imported_only_to_record_and_calls_nobody() -> None:
    program = (
        "import os, sys, training.__main__, training.run\n"
        "from training.experiments import listing, recording, table\n"
        "assert 'mlflow' not in sys.modules\n"
        "from pathlib import Path\n"
        "from training.experiments.store import open_store\n"
        "open_store(Path('.usher'))\n"
        "assert 'mlflow' in sys.modules\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "assert is_telemetry_disabled()\n"
    )
    root = str(Path(__file__).resolve().parent.parent)
    environment = os.environ | {"PYTHONPATH": root}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout + ended.stderr == ""
