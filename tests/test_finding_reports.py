"""Which report a name means, and a browser that is asked only where it can be seen."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.report_fixtures import FinishedRuns
from training.__main__ import main
from training.errors import DataError
from training.experiments.listing import listed_runs
from training.report.browser import has_display, open_page
from training.report.found import newest_report, note_newest, report_path


def _kept(folder: Path, at: float) -> Path:
    folder.mkdir(parents=True)
    path = folder / "report.json"
    path.write_text("{}")
    os.utime(path, (at, at))
    return path


def test_the_newest_is_found_wherever_it_went(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with pytest.raises(DataError, match="No run has left a report"):
        newest_report(state)
    older, newer = _kept(state / "runs" / "b", 1000), _kept(state / "runs" / "a" / "deep", 2000)
    assert newest_report(state) == newer
    elsewhere = _kept(tmp_path / "elsewhere", 3000)
    note_newest(elsewhere, state)
    assert newest_report(state) == elsewhere
    os.utime(older, (4000, 4000))
    assert newest_report(state) == older
    shutil.rmtree(elsewhere.parent)
    newer.unlink()
    assert newest_report(state) == older


def test_a_run_is_named_by_folder_file_or_the_folders_name(tmp_path: Path) -> None:
    path = _kept(tmp_path / "runs" / "small-ml-100k", 1000)
    for name in (str(path), str(path.parent), "small-ml-100k"):
        assert report_path(name, tmp_path) == path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "must be named"),
        ("small-ml-10k", r"no run called 'small-ml-10k' \(did you mean small-ml-100k\?\)"),
        ("interrupted", "holds no report.json: a run writes it when it is done"),
    ],
)
def test_what_is_no_run_is_told(tmp_path: Path, name: str, said: str) -> None:
    _kept(tmp_path / "runs" / "small-ml-100k", 1000)
    (tmp_path / "runs" / "interrupted").mkdir()
    with pytest.raises(DataError, match=said) as caught:
        report_path(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_of_the_record_is_fetched_into_a_folder_of_its_own(
    finished_runs: FinishedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    state = tmp_path / "state"
    (run,) = [r for r in listed_runs(finished_runs.home / ".usher") if r.name == "proven-2"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (finished_runs.home / ".usher/mlruns").as_uri())
    path = report_path(run.run_id[:9], state)
    assert path == state / "reports" / run.run_id / "report.json"
    assert path.read_text() == (finished_runs.folder("two") / "report.json").read_text()
    with pytest.raises(DataError, match="no run with the id 00000000"):
        report_path("00000000", state)


def test_make_report_makes_the_page_again(
    finished_runs: FinishedRuns,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_runs.folder("one"), ".usher/runs/one")
    page = Path(".usher/runs/one/report.html")
    expected = page.read_text()
    page.unlink()
    assert main(["report"]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert page.read_text() == expected
    assert main(["report", "one", "--print", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {
        "report": str(page.with_suffix(".json")), "page": str(page), "opened": False,
    }  # fmt: skip
    assert main(["report", "one", "--print"]) == 0
    told = capsys.readouterr().out
    assert "RMSE on test, by fifths" in told
    assert told.endswith(f"{page}\n")


@pytest.mark.parametrize("content", ["{}", "[1]", "no json", '{"configuration": {}}'])
def test_what_is_no_report_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("report.json").write_text(content)
    assert main(["report", "report.json"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "report.json is not a report of a run" in told.err
    assert len(told.err.splitlines()) == 1


@pytest.fixture
def browser(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A browser that writes down what it is asked to show, and the environment that names it."""
    shown = tmp_path / "shown.txt"
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "a browser talks"\nprintf %s "$1" >{shown}.half\n'
                       f"mv {shown}.half {shown}\n")  # fmt: skip
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    return shown, kept | {"BROWSER": f"{program} %s"}


def test_a_page_is_opened_where_there_is_a_display(
    tmp_path: Path, browser: tuple[Path, dict[str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    shown, environment = browser
    page = tmp_path / "a page.html"
    assert not open_page(page, environment)
    assert not shown.exists()
    assert open_page(page, environment | {"DISPLAY": ":0"})
    assert shown.read_text() == page.resolve().as_uri()
    assert capfd.readouterr() == ("", "")


def test_a_browser_in_the_terminal_is_not_waited_for(
    tmp_path: Path, browser: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.report.browser.PATIENCE_S", 0.5)
    program = tmp_path / "browser"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.stdin.read()\nimport time\n"
                       "time.sleep(5)\n")  # fmt: skip
    assert open_page(tmp_path / "page.html", browser[1] | {"WAYLAND_DISPLAY": "wayland-0"})


def test_displays_are_known_by_what_names_them() -> None:
    assert has_display({"DISPLAY": ":0"}, "linux")
    assert has_display({"WAYLAND_DISPLAY": "wayland-0"}, "linux")
    assert not has_display({"DISPLAY": ""}, "linux")
    assert not has_display({}, "linux")
    assert has_display({}, "darwin")
    assert not has_display({"SSH_CONNECTION": "1"}, "darwin")
