"""The teachers of a run: one for each step, at once where there are cores, none left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.made_teacher import take_the_place
from tests.service_fixtures import await_condition
from training.config import Teaching, load_configuration
from training.errors import TrainingError
from training.request import Request
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings
from training.teachers.faculty import Faculty
from training.teachers.teacher_fit import fit_teacher

ROOT = Path(__file__).resolve().parent.parent
DATA = "synthetic:users=80,items=40,ratings=1200,seed=3"


@pytest.fixture(autouse=True)
def fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fits are made by tests.made_teacher, which says so in this file."""
    path = tmp_path / "fits.txt"
    take_the_place(path, monkeypatch)
    return path


def request_of(folder: Path, rank: int = 4, *, resume: bool = False) -> Request:
    ratings = load_ratings(DATA, SourceSettings(download=False))
    folder.mkdir(exist_ok=True)
    configuration = load_configuration("best", [f"training.teacher.rank={rank}"])
    split = split_ratings(ratings, "random", 42)
    return Request(
        ratings, split, configuration, folder, print,
        resume=resume, progress=False, state=folder.parent / "state",
    )  # fmt: skip


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def begun(fits: Path) -> list[int]:
    lines = fits.read_text().split("\n")
    return [int(line.split()[1]) for line in lines if line.startswith("began")]


def test_each_step_has_one_teacher_fitted_to_its_rows(tmp_path: Path, fits: Path) -> None:
    request = request_of(tmp_path / "run")
    with Faculty(request) as faculty:
        first, again = faculty.teacher("choose"), faculty.teacher("choose")
        second = faculty.teacher("refit")
        assert faculty.tutor("refit", request.configuration) is not None
    assert first is again
    assert first is not None
    assert second is not None
    values = request.ratings.values
    assert first.mean == pytest.approx(values[request.split.fit].mean(), abs=1e-5)
    assert second.mean == pytest.approx(values[request.split.refit].mean(), abs=1e-5)
    assert len(begun(fits)) == 2


@pytest.mark.parametrize("cores", [1, 2])
def test_both_are_fitted_at_once_where_there_are_two_cores(
    tmp_path: Path, fits: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr("training.teachers.faculty._cores", lambda: cores)
    monkeypatch.setenv("USHER_TEST_FIT_SECONDS", "2")
    with Faculty(request_of(tmp_path / "run")) as faculty:
        await_condition(lambda: len(begun(fits)) == cores, "the fits have begun")
        faculty.teacher("choose")
        assert len(begun(fits)) == cores
    assert not any(alive(pid) for pid in begun(fits))


def test_no_fit_goes_on_behind_an_error(
    tmp_path: Path, fits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.teachers.faculty._cores", lambda: 2)
    monkeypatch.setenv("USHER_TEST_FIT_SECONDS", "60")
    with (
        pytest.raises(RuntimeError, match="elsewhere"),
        Faculty(request_of(tmp_path / "run")),
    ):
        await_condition(lambda: len(begun(fits)) == 2, "both have begun")
        raise RuntimeError("elsewhere")
    assert len(begun(fits)) == 2
    assert not any(alive(pid) for pid in begun(fits))


def test_a_teacher_that_fails_is_told_in_one_sentence(tmp_path: Path, fits: Path) -> None:
    request = request_of(tmp_path / "run", rank=3)
    with Faculty(request) as faculty, pytest.raises(TrainingError) as told:
        faculty.teacher("choose")
    assert str(told.value) == "The teacher could not be fitted: RuntimeError: an odd rank"
    assert not any(alive(pid) for pid in begun(fits))
    assert not list((tmp_path / "run").iterdir())


def test_a_kept_teacher_is_taken_up_by_whoever_needs_the_same(tmp_path: Path, fits: Path) -> None:
    with Faculty(request_of(tmp_path / "run")) as faculty:
        before = faculty.teacher("choose")
    assert before is not None
    assert before.fit_seconds > 0
    rows = len(request_of(tmp_path / "run").split.fit)
    assert fits.read_text().count(f" {rows}\n") == 2  # began and ended
    with Faculty(request_of(tmp_path / "another")) as faculty:
        after = faculty.teacher("choose")
    assert after is not None
    for name, value in vars(before).items():
        np.testing.assert_array_equal(value, getattr(after, name))
    assert fits.read_text().count(f" {rows}\n") == 2
    with Faculty(request_of(tmp_path / "another", rank=6)) as faculty:
        other = faculty.teacher("choose")
    assert other is not None
    assert other.item_factors.shape[1] == 6
    assert fits.read_text().count(f" {rows}\n") == 4


def test_a_teacher_follows_rows_seed_code_and_library(
    tmp_path: Path, fits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(tmp_path / "run")
    ratings, rows = request.ratings, request.split.fit
    teaching = request.configuration.training.teacher
    assert teaching is not None

    def fitted_anew(rows: np.ndarray, teaching: Teaching, seed: int) -> bool:
        before = len(begun(fits))
        fit_teacher(ratings, rows, teaching, seed, tmp_path / "state")
        return len(begun(fits)) > before

    assert fitted_anew(rows, teaching, 1)
    assert not fitted_anew(rows, teaching, 1)
    assert not fitted_anew(rows, teaching.model_copy(update={"weight": 2.0}), 1)  # the student's
    assert fitted_anew(rows[:-1], teaching, 1)
    assert fitted_anew(rows, teaching, 2)
    assert fitted_anew(rows, teaching.model_copy(update={"compressed_rank": 3}), 1)
    pins = tmp_path / "pins"
    pins.mkdir()
    (pins / "myfm.txt").write_text("myfm==0.0.1")
    monkeypatch.setattr("training.teachers.teacher_fit.PINS", pins)
    assert fitted_anew(rows, teaching, 1)


def test_ctrl_c_ends_both_fits(tmp_path: Path, fits: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "import training.teachers.teacher_fit as t, training.teachers.faculty\n"
        "t.SCRIPT = 'tests.made_teacher'; t.peer_python = lambda *a: Path(sys.executable)\n"
        "training.teachers.faculty._cores = lambda: 2\n"
        "from training.__main__ import main\n"
        f"sys.exit(main(['evaluate', '--config', 'best', '--data', {DATA!r},\n"
        f"    '--set', 'training.teacher.rank=4', '--folder', {str(tmp_path / 'run')!r}]))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "USHER_TEST_FIT_SECONDS": "60"}
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, cwd=tmp_path
    )
    try:
        await_condition(lambda: len(begun(fits)) == 2, "both fits have begun", timeout_s=120)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, told
    assert b"Traceback" not in told
    assert not any(alive(pid) for pid in begun(fits))
