"""The page of a run: well-formed, alone, and made of what its report.json holds."""

from __future__ import annotations

import json
import re
from io import StringIO
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from rich.console import Console

from tests.pages import charts, parsed, points, section, table, words
from tests.report_fixtures import HOSTILE, RUNS, FinishedRuns
from training.flat_settings import flattened
from training.report import print_report, read_report
from training.report.page import page_of, rendered, write_page

OLD = Path(__file__).with_name("report_of_an_older_version.json")
EVERY = [*RUNS, "mine"]


@pytest.fixture(params=EVERY)
def page(request: pytest.FixtureRequest, finished_runs: FinishedRuns) -> Element:
    return parsed(finished_runs.folder(request.param) / "report.html")


@pytest.fixture
def one(finished_runs: FinishedRuns) -> Element:
    return parsed(finished_runs.folder("one") / "report.html")


def test_a_page_asks_for_nothing_else(page: Element) -> None:
    assert not [e.tag for e in page.iter() if e.tag in ("script", "link", "img", "iframe")]
    assert not [e for e in page.iter() if {"src", "srcset", "style", "onclick"} & set(e.attrib)]
    style = words(next(page.iter("style")))
    assert "url(" not in style
    assert "@import" not in style
    policy = [meta.get("content") for meta in page.iter("meta") if meta.get("http-equiv")]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_a_page_can_be_found_ones_way_in(page: Element) -> None:
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(set(ids)) == len(ids)
    inside = [a.get("href", "")[1:] for a in page.iter("a") if a.get("href", "").startswith("#")]
    assert set(inside) <= set(ids)
    levels = [int(e.tag[1]) for e in page.iter() if re.fullmatch("h[1-6]", str(e.tag))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert next(page.iter("html")).get("lang") == "en"


def test_whoever_cannot_see_a_drawing_is_told(page: Element) -> None:
    drawings = charts(page)
    assert drawings
    assert all(svg.get("role") == "img" and len(svg.get("aria-label", "")) > 20 for svg in drawings)
    for found in page.iter("table"):
        assert words(found.find("caption"))
        assert all(words(th) and th.get("scope") for th in found.iter("th"))


def test_the_page_is_a_function_of_the_report(finished_runs: FinishedRuns, tmp_path: Path) -> None:
    for name in EVERY:
        kept = (finished_runs.folder(name) / "report.html").read_text()
        assert rendered(page_of(finished_runs.report(name))) == kept


def test_every_figure_is_in_its_table(finished_runs: FinishedRuns, one: Element) -> None:
    report = finished_runs.report("one")
    rows = table(one, "All figures on the test rows")
    names = ["model", "RMSE", "MSE", "MAE", "NDCG@100", "Recall@20", "Recall@50", "Precision@10",
             "Coverage", "Width"]  # fmt: skip
    assert rows[0] == names
    for scores, row in zip(report.tests[0].scores, rows[1:], strict=True):
        values = scores.model_dump(mode="json")
        keys = [name.lower() for name in names[1:]]
        assert row[0] == scores.predictor
        for key, cell in zip(keys, row[1:], strict=True):
            value = values[key]
            assert cell.split()[0] == ("–" if value is None else f"{value:.4f}")
    differences = table(one, "Each baseline less hybrid-vae")
    ease = report.tests[0].differences["ease"]["ndcg@100"]
    told = next(row for row in differences if row[0] == "ease")[4]
    assert told == f"{ease.value:+.4f} {ease.low:+.4f} to {ease.high:+.4f}"


def test_where_it_comes_from_is_told_in_full(finished_runs: FinishedRuns, one: Element) -> None:
    report = finished_runs.report("one")
    told = words(section(one, "origin"))
    for fact in (report.split_digest, report.data.digest, report.data.licence, report.code_version,
                 report.created_at, f"split seed {report.split_seed}"):  # fmt: skip
        assert str(fact) in told
    settings = {row[0]: row[1] for row in table(one, "Every setting of the run")[1:]}
    assert settings == dict(flattened(report.configuration))
    times = words(section(one, "time"))
    assert all(f"{name} {value:,.1f} s" in times for name, value in report.seconds.items())


def test_curves_are_drawn_where_their_values_are(finished_runs: FinishedRuns, one: Element) -> None:
    report = finished_runs.report("one")
    drawn = {svg.get("aria-label", "").split(" by epoch")[0]: svg for svg in charts(one)}
    for title, name, ratios in (
        ("RMSE", "validation_rmse", False),
        ("Ranking on validation rows", "validation_ndcg", False),
        ("Kullback-Leibler divergence", "kl", False),
        ("Gradient norm", "gradient_norm", True),
    ):
        values = np.array([epoch[name] for epoch in report.epochs])
        xs, ys = np.array(points(drawn[title])).T
        scaled = np.log(values) if ratios else values
        slope, start = np.polyfit(scaled, ys, 1)
        assert slope < 0  # higher is further up
        np.testing.assert_allclose(slope * scaled + start, ys, atol=0.06)
        np.testing.assert_allclose(np.diff(xs, 2), 0, atol=0.11)
    assert "warning 10" in words(drawn["Gradient norm"])
    warned = [note for note in one.iter("p") if "warning" in note.get("class", "")]
    assert [words(note) for note in warned] == [f"Early warning: {w}" for w in report.warnings]


def test_the_gap_is_that_of_the_epoch_that_was_chosen(
    finished_runs: FinishedRuns, one: Element
) -> None:
    report = finished_runs.report("one")
    assert report.chosen_epoch is not None
    chosen = report.epochs[report.chosen_epoch - 1]
    gap = chosen["validation_rmse"] - chosen["train_rmse"]
    assert report.gaps == {report.name: pytest.approx(gap)}
    assert f"Validation is {gap:.3f} above training as chosen." in words(section(one, "learning"))
    text = StringIO()
    print_report(report, Console(file=text, width=200))
    assert f"as chosen: {report.name} {gap:.3f}" in text.getvalue()
    members = finished_runs.report("ensemble").gaps
    assert list(members) == ["first", "second"]


def test_reliability_and_errors_are_those_of_the_report(
    finished_runs: FinishedRuns, one: Element
) -> None:
    report = finished_runs.report("one")
    curve = table(one, "Reliability curve")[1:]
    assert curve == [
        [f"{level.nominal:.0%}", f"{level.measured:.1%}"] for level in report.reliability[0].curve
    ]
    rows = table(one, "RMSE by the item's popularity")
    assert rows[0][2:] == ["hybrid-vae", "mean", "bias"]
    for band, row in zip(report.star_errors[0].items, rows[1:], strict=True):
        assert row[0] == f"{band.smallest:,} to {band.largest:,}"
        assert row[2:] == [f"{band.rmse[name]:.4f}" for name in rows[0][2:]]
    levels = table(one, "Predictions by true rating")[1:]
    assert [row[0] for row in levels] == [f"{n / 2:g}" for n in range(1, 11)]
    assert sum(int(row[1].replace(",", "")) for row in levels) == report.tests[0].scores[0].rows


def test_examples_have_titles_and_stars(finished_runs: FinishedRuns, one: Element) -> None:
    told = words(section(one, "examples"))
    for example in finished_runs.report("one").examples:
        assert f"User {example.user_id}" in told
        for offer in example.offers:
            assert offer.title in told
            assert f"{offer.predicted:.2f} {offer.low:.2f} to {offer.high:.2f}" in told


def test_an_ensemble_shows_each_member(finished_runs: FinishedRuns) -> None:
    page, report = (
        parsed(finished_runs.folder("ensemble") / "report.html"),
        finished_runs.report("ensemble"),
    )
    assert report.ensemble is not None
    assert [len(member.epochs) for member in report.ensemble.members] == [3, 3]
    rows = table(page, "Members of the ensemble")
    assert [row[0] for row in rows] == ["member", "first", "second", "all"]
    assert rows[-1][-2:] == ["1.5", "1.25"]
    legend = words(section(page, "learning"))
    assert "first" in legend
    assert "second" in legend
    assert table(page, "Every epoch of second")


def test_users_liked_has_no_stars_and_says_why(finished_runs: FinishedRuns) -> None:
    page = parsed(finished_runs.folder("liked") / "report.html")
    assert "RMSE" not in table(page, "All figures on the test-80 rows")[0]
    for anchor in ("stars", "errors", "intervals"):
        assert "the protocol users-liked reports no stars" in words(section(page, anchor))
    offered = table(page, "Offered")
    assert offered[0] == ["item", "genres", "gave it"]
    assert "Only liked ratings exist" in words(section(page, "learning"))


def test_what_a_file_of_ones_own_says_is_text(finished_runs: FinishedRuns) -> None:
    page = parsed(finished_runs.folder("mine") / "report.html")
    assert HOSTILE in words(section(page, "examples"))
    assert "your own" in words(section(page, "origin"))
    assert len(table(page, "Predictions by true rating")) <= 11


def test_every_test_fold_is_shown(finished_runs: FinishedRuns) -> None:
    page = parsed(finished_runs.folder("users") / "report.html")
    for anchor in ("results", "errors", "intervals"):
        told = words(section(page, anchor))
        assert "On the test-80 rows" in told
        assert "On the test-50 rows" in told


def test_a_report_of_an_older_version_still_has_a_page(tmp_path: Path) -> None:
    report = read_report(OLD)
    page = parsed(write_page(report, tmp_path))
    for anchor, what in (
        ("stars", "predictions by true rating"),
        ("errors", "errors by activity and popularity"),
        ("examples", "examples"),
    ):
        expected = f"written by a version that did not keep {what}; make the run again"
        assert expected in words(section(page, anchor))
    assert "which an older version wrote" in words(section(page, "origin"))
    assert table(page, "Reliability curve")
    assert f"{report.tests[0].scores[0].rmse:.4f}" in words(section(page, "results"))


def test_the_first_version_of_all_too(tmp_path: Path) -> None:
    content = json.loads(OLD.read_text())
    del content["reliability"], content["ensemble"]
    path = tmp_path / "report.json"
    path.write_text(json.dumps(content))
    page = parsed(write_page(read_report(path), tmp_path))
    assert "did not keep reliability of intervals" in words(section(page, "intervals"))


def test_a_report_of_a_newer_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    content = json.loads(OLD.read_text()) | {"of_the_future": 1}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(content))
    assert read_report(path).seed == 1
