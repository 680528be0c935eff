"""Two runs side by side: differences where they mean something, and a refusal where they do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pages import charts, parsed, section, table, words
from tests.report_fixtures import FinishedRuns
from training.__main__ import main
from training.experiments.listing import listed_runs
from training.flat_settings import flattened
from training.report import RunReport
from training.report.compared import Compared, compare_reports

PATHS = (Path("a/report.json"), Path("b/report.json"))


@pytest.fixture(autouse=True)
def _in_their_home(finished_runs: FinishedRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished_runs.home)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_differences_are_those_of_the_two_reports(finished_runs: FinishedRuns) -> None:
    a, b = finished_runs.report("one"), finished_runs.report("two")
    compared = compare_reports(a, b, PATHS)
    assert compared.comparable
    assert compared.why_not is None
    for pair in compared.figures:
        fold_a, fold_b = (
            {fold.fold: fold for fold in (*report.tests, report.validation)}[pair.fold]
            for report in (a, b)
        )
        value = fold_a.of("hybrid-vae").metrics[pair.figure]
        other = fold_b.of("hybrid-vae").metrics[pair.figure]
        assert pair.difference == pytest.approx(other - value)
        lower_is_better = pair.figure in ("rmse", "mse", "mae")
        if pair.figure in ("coverage", "width") or value == other:
            assert pair.better is None
        else:
            assert pair.better == ("b" if (other < value) == lower_is_better else "a")
    assert {pair.fold for pair in compared.figures} == {"test", "validation"}
    mine, others = dict(flattened(a.configuration)), dict(flattened(b.configuration))
    assert {one.setting: (one.a, one.b) for one in compared.settings} == {
        name: (mine[name], others[name]) for name in mine if mine[name] != others[name]
    }
    assert {one.setting for one in compared.settings} == {
        "seed", "training.max_epochs", "training.kl.weight",
    }  # fmt: skip


def _changed(report: RunReport, **changes: object) -> RunReport:
    return report.model_copy(update=changes)


def test_what_is_not_comparable_has_no_difference(finished_runs: FinishedRuns) -> None:
    one = finished_runs.report("one")
    liked = one.tests[0].scores[0].model_copy(update={"liked_from": 3.0})
    other_liking = one.tests[0].model_copy(update={"scores": (liked, *one.tests[0].scores[1:])})
    for other, said in (
        (finished_runs.report("users"), "not scored on the same rows"),
        (_changed(one, data=one.data.model_copy(update={"digest": "0" * 64})), "same ratings"),
        (_changed(one, tests=[other_liking]), "different ratings as liked (from 4 against from 3)"),
    ):
        compared = compare_reports(one, other, PATHS)
        assert not compared.comparable
        assert said in (compared.why_not or "")
        assert {(pair.difference, pair.better) for pair in compared.figures} == {(None, None)}


def test_intervals_that_do_not_touch_are_apart(finished_runs: FinishedRuns) -> None:
    one = finished_runs.report("one")
    scores = one.tests[0].scores[0]
    rmse = scores.intervals["rmse"]
    away = rmse.model_copy(update={"value": 9.0, "low": rmse.high + 0.001, "high": 10.0})
    worse = scores.model_copy(update={"intervals": scores.intervals | {"rmse": away}})
    fold = one.tests[0].model_copy(update={"scores": (worse, *one.tests[0].scores[1:])})
    compared = compare_reports(one, _changed(one, tests=[fold]), PATHS)
    pairs = {pair.figure: pair for pair in compared.figures if pair.fold == "test"}
    assert pairs["rmse"].overlap is False
    assert pairs["rmse"].better == "a"
    assert pairs["mse"].overlap is True


def test_the_command_prints_and_writes_the_same(
    finished_runs: FinishedRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(finished_runs.folder(name)) for name in ("one", "two")]
    assert main(["compare", *folders]) == 0
    told = capsys.readouterr()
    path = Path(".usher/comparisons/one-two.html")
    assert told.err == f"Comparison: {path}\n"
    page = parsed(path)
    compared = compare_reports(finished_runs.report("one"), finished_runs.report("two"), PATHS)
    rows = table(page, "The two models on the test rows")[1:]
    for pair, row in zip((p for p in compared.figures if p.fold == "test"), rows, strict=True):
        assert pair.difference is not None
        assert row[3] == f"{pair.difference:+.4f}"
        assert row[3] in told.out
    differing = table(page, "Settings that differ")[1:]
    assert [row[0] for row in differing] == [one.setting for one in compared.settings]
    assert all(row[0] in told.out for row in differing)
    marked = [words(td) for td in page.iter("td") if "differs" in td.get("class", "").split()]
    assert {"5", "3", "0.5", "0.01"} <= set(marked)
    curves = next(c for c in charts(page) if c.get("aria-label", "").startswith("RMSE by epoch"))
    lines = [e for e in curves.iter() if str(e.tag).endswith("polyline")]
    assert [len((line.get("points") or "").split()) for line in lines] == [3, 5, 3, 5]


def test_other_rows_are_shown_apart_and_it_is_said(
    finished_runs: FinishedRuns, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    target = tmp_path / "deep" / "page.html"
    assert main(["compare", "one", "liked", "--to", str(target)]) == 0
    assert "Not comparable" in capsys.readouterr().out
    page = parsed(target)
    assert any("Not comparable" in words(p) for p in page.iter("p"))
    assert {row[3] for row in table(page, "The two models on the test rows")[1:]} == {"–"}
    learning = [words(h) for h in section(page, "learning").iter("h3")]
    assert learning == ["Run A", "Run B"]
    assert "protocol users-liked reports no stars" in words(section(page, "intervals"))


def test_ensembles_and_networks_stand_side_by_side(
    finished_runs: FinishedRuns, tmp_path: Path
) -> None:
    target = tmp_path / "page.html"
    assert main(["compare", "ensemble", "one", "--to", str(target)]) == 0
    page = parsed(target)
    assert "A: first" in words(section(page, "learning"))
    assert table(page, "Members of the ensemble")
    assert table(page, "RMSE by the user's activity")[0][2:] == ["A: ensemble", "B: hybrid-vae"]


def test_runs_of_the_record_are_compared_by_their_ids(
    finished_runs: FinishedRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = {run.name: run for run in listed_runs(Path(".usher"), protocol="random")}
    ids = [listed[name].run_id[:8] for name in ("proven-1", "proven-2")]
    assert main(["compare", *ids, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    Compared.model_validate(printed)
    assert printed["b"]["seed"] == 2
    assert Path(printed["a"]["report"]).parent.name == listed["proven-1"].run_id
    assert Path(printed["page"]).is_file()
    assert printed["opened"] is False


def test_a_report_of_an_older_version_is_compared_as_far_as_it_goes(
    finished_runs: FinishedRuns, tmp_path: Path
) -> None:
    newer = finished_runs.folder("one") / "report.json"
    content = json.loads(newer.read_text())
    del content["star_errors"], content["examples"], content["created_at"]
    older = tmp_path / "older" / "report.json"
    older.parent.mkdir()
    older.write_text(json.dumps(content))
    target = tmp_path / "page.html"
    assert main(["compare", str(older), str(newer), "--to", str(target)]) == 0
    page = parsed(target)
    assert "Run A's report.json was written by a version" in words(section(page, "errors"))
    assert table(page, "RMSE by the user's activity")[0][2] == "B: hybrid-vae"
