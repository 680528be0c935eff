"""Fits by two real processes over gloo: they come to what one comes to, however they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.benchmarks import processes as benchmark
from tests.made_teacher import take_the_place
from tests.processes_parts import DATA, ROOT, SMALL, command
from tests.test_trainer import small
from training.__main__ import main
from training.cluster import Cluster
from training.config import Configuration, load_configuration
from training.ensembles.ensemble_report import Price
from training.errors import TrainingDiverged, TrainingError
from training.evaluation.evaluate import evaluate
from training.evaluation.network_predictor import NetworkPredictor
from training.fitting.processes import Processes
from training.fitting.shares import dealt
from training.fitting.trainer import Fitted, choose
from training.ratings import Ratings
from training.report import RunReport
from training.sources import SourceSettings, load_ratings
from training.split import Split, split_ratings

LONG = {"max_epochs": 5000, "patience": 5000}


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return load_ratings(DATA, SourceSettings(download=False))


@pytest.fixture(scope="module")
def split(ratings: Ratings) -> Split:
    return split_ratings(ratings, "random", 42)


def two(
    ratings: Ratings,
    configuration: Configuration,
    folder: Path,
    say: Callable[[str], None] = print,
    save_every_s: float = 30.0,
) -> Processes:
    return Processes(
        Cluster(2), ratings, configuration, folder, say, progress=False, save_every_s=save_every_s
    )


def started_from_here() -> list[psutil.Process]:
    """The processes of a fit; servers that other tests share are none."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "training.fitting.rank" in _command(child)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def rmses(fitted: Fitted) -> list[float]:
    return [record.figures["validation_rmse"] for record in fitted.history]


def test_two_processes_learn_what_one_does_and_a_refit_follows(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    rates = load_configuration("proven").training.learning_rate
    plateau = rates.model_copy(update={"schedule": "plateau", "plateau_patience": 0})
    configuration = small(max_epochs=8, learning_rate=plateau)
    one = choose(
        ratings, split.fit, split.validation, configuration, tmp_path, print, progress=False
    )
    said: list[str] = []
    several = two(ratings, configuration, tmp_path / "two", said.append)
    fitted = several.choose(split.fit, split.validation)
    assert len(rmses(fitted)) == 8
    assert min(rmses(fitted)) == pytest.approx(min(rmses(one)), abs=0.01)
    assert fitted.epochs == 1 + int(np.argmin(rmses(fitted)))
    warned = [line.removeprefix("Early warning: ") for line in said]
    assert warned == fitted.warnings  # by the first process alone
    kept = json.loads((tmp_path / "two" / "epochs.json").read_text())
    assert [epoch["validation_rmse"] for epoch in kept["epochs"]] == rmses(fitted)
    again = several.refit(split.refit, fitted)
    assert len(again.history) == fitted.epochs
    used = [record.figures["learning_rate"] for record in fitted.history]
    assert [record.figures["learning_rate"] for record in again.history] == used[: fitted.epochs]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "best.ckpt",
        "epochs.json",
    ]


def test_the_network_of_two_is_validated_as_the_report_has_it(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    wanted = [*SMALL[1::2], "training.max_epochs=4", "training.negatives=20"]
    wanted += ["training.learning_rate={averaging_from: 0.5, initial: 0.02}"]
    configuration = load_configuration("proven", [*wanted, "training.mixup=0.3"])
    fitted = two(ratings, configuration, tmp_path).choose(split.fit, split.validation)
    predictor = NetworkPredictor("vae", fitted.network, (0.5, 5.0))
    scores = evaluate(predictor, ratings, split.validation, liked_from=4.0, seed=0)
    assert scores.rmse is not None
    best = min(rmses(fitted))
    assert fitted.averaged == (scores.rmse < best - 1e-6)
    assert scores.rmse <= best + 1e-5


def test_a_resumed_fit_ends_where_an_unbroken_one_does(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    def fit(folder: str, epochs: int, resume: bool) -> Fitted:
        several = two(ratings, small(max_epochs=epochs), tmp_path / folder, save_every_s=0.0)
        return several.choose(split.fit, split.validation, resume=resume)

    fit("broken", 2, resume=False)
    resumed, unbroken = fit("broken", 4, resume=True), fit("unbroken", 4, resume=False)
    assert [record.epoch for record in resumed.history] == [1, 2, 3, 4]
    assert rmses(resumed) == pytest.approx(rmses(unbroken), abs=1e-6)


def test_a_loss_that_is_no_number_in_one_process_ends_both_with_the_one_sentence(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    owner_U = dealt(ratings, split.fit, split.validation, 2, small().seed)
    poisoned = ratings.values.copy()
    second = split.fit[owner_U[ratings.users[split.fit]] == 1]
    poisoned[second[:200]] = 1e30  # its square is beyond float32
    broken = replace(ratings, values=poisoned)
    with pytest.raises(TrainingDiverged, match=r"loss became (inf|nan) in epoch 1; the best"):
        two(broken, small(), tmp_path).choose(split.fit, split.validation)
    assert not started_from_here()


def once_kept(path: Path, act: Callable[[], None]) -> None:
    """Do something as soon as a checkpoint exists."""

    def wait() -> None:
        patience = threading.Event()
        while not path.exists():
            patience.wait(0.05)
        act()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_both_after_the_same_batch_and_keeps_a_place_to_resume(
    ratings: Ratings, split: Split, tmp_path: Path, number: signal.Signals
) -> None:
    once_kept(tmp_path / "best.ckpt", lambda: os.kill(os.getpid(), number))
    fitted = two(ratings, small(**LONG), tmp_path).choose(split.fit, split.validation)
    assert fitted.interrupted
    assert fitted.epochs >= 1
    assert (tmp_path / "last.ckpt").exists()
    assert not started_from_here()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_asked_to_end_by_somebody_else_takes_the_other_along(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    once_kept(tmp_path / "best.ckpt", lambda: started_from_here()[1].terminate())
    fitted = two(ratings, small(**LONG), tmp_path).choose(split.fit, split.validation)
    assert fitted.interrupted
    assert (tmp_path / "last.ckpt").exists()


def test_a_killed_process_ends_the_fit_with_one_sentence(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    once_kept(tmp_path / "best.ckpt", lambda: started_from_here()[1].kill())
    with pytest.raises(TrainingError, match=r"^Process . of 2 .* ended by SIGKILL, .*--resume"):
        two(ratings, small(**LONG), tmp_path).choose(split.fit, split.validation)
    assert not started_from_here()
    assert (tmp_path / "best.ckpt").exists()


def test_a_process_that_fails_is_told_with_its_last_words_and_the_rest_is_in_a_log(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    (tmp_path / "best.ckpt").mkdir()  # where a file should go
    with pytest.raises(TrainingError, match=r"Process 1 of 2 .* failed \(.*process-0-0.log\)"):
        two(ratings, small(), tmp_path).choose(split.fit, split.validation)
    assert "Traceback" in (tmp_path / "process-0-0.log").read_text()


def test_nobody_is_left_behind_when_the_command_is_killed(tmp_path: Path) -> None:
    words = command(tmp_path, "--processes", "2", "--set", "training.max_epochs=5000")
    with subprocess.Popen(
        [sys.executable, "-m", "training", *words, "--set", "training.patience=5000"],
        cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    ) as run:  # fmt: skip
        patience = threading.Event()
        while not (tmp_path / "best.ckpt").exists():
            assert run.poll() is None
            patience.wait(0.05)
        fitting = psutil.Process(run.pid).children(recursive=True)
        run.kill()
    assert len(fitting) >= 2
    gone, alive = psutil.wait_procs(fitting, timeout=60)
    assert not alive
    assert len(gone) == len(fitting)


def test_an_ensemble_is_fitted_in_two_processes_and_its_closed_form_in_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_the_place(tmp_path / "fits.txt", monkeypatch)
    price = Price(weight_bytes=1, milliseconds=1.0)  # what it costs to serve is another test's
    monkeypatch.setattr("training.ensembles.ensemble_estimator.price_of", lambda *asked: price)
    monkeypatch.chdir(tmp_path)
    words = command(tmp_path / "run", "--processes", "2", "--set", "refit=false")
    words += ["--set", "training.teacher={rank: 4, draws: 30, pairs_per_user: all}"]
    words += [
        "--set",
        "training.ranking_teacher={weight: 0.05}",
        "--set",
        "network.shallow={rank: 8}",
    ]
    words += ["--set", "ensemble=[{name: network}, {name: ridge, kind: ridge-fold-in}]"]
    assert main(words) == 0
    report = RunReport.model_validate_json((tmp_path / "run" / "report.json").read_text())
    assert report.ensemble is not None
    assert [member.name for member in report.ensemble.members] == ["network", "ridge"]
    claimed = json.loads((tmp_path / "run" / "configuration.json").read_text())
    assert claimed["processes"] == 2
    assert main([*words, "--resume", "--processes", "1"]) == 2  # another dealing of users


def test_the_benchmark_compares_one_process_with_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "processes.json"
    words = ["--data", DATA, "--protocol", "random", "--epochs", "1", "--seeds", "4"]
    for change in SMALL[1::2]:
        words += ["--set", change]
    assert benchmark.main([*words, "--bound", "0.5", "--record", str(record)]) == 0
    content = json.loads(record.read_text())
    one, several = content["fits"]
    assert (one["processes"], several["processes"], one["seed"]) == (1, 2, 4)
    assert (len(one["peak_mb"]), len(several["peak_mb"])) == (1, 3)
    difference = several["rmse"] - one["rmse"]
    assert content["summary"]["difference"] == pytest.approx(difference, abs=1e-5)
    assert "difference" in capsys.readouterr().out
