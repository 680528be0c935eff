"""Whether intervals hold what they promise: the curve, and each fifth of users and items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from training.evaluation.reliability import Band, Reliability
from training.report.blocks import Block, Figure, Grid, Group, Key, Section, Table
from training.report.charts.lines import Names, Rule, line_chart
from training.report.charts.lines import Series as Line
from training.report.sections.fifths import TITLES, WHOSE, places, series, spelled
from training.report.shown import Shown, missing

Judged = tuple[Shown, Reliability]


@dataclass(frozen=True)
class Form:
    """How a figure of a fifth is told."""

    title: str
    axis: str
    digits: str
    unit: str


FORMS = {
    "coverage": Form("Held,", "share held", ".1%", ""),
    "width": Form("Width,", "mean width, stars", ".2f", " stars"),
}


def intervals_section(runs: Sequence[Shown]) -> Section:
    """For each test fold: the curve, then coverage and width by fifths."""
    blocks: list[Block] = missing(runs, "reliability", "reliability of intervals")
    pairs = [(run, found) for run in runs for found in run.report.reliability]
    for fold in dict.fromkeys(found.fold for _, found in pairs):
        judged = [pair for pair in pairs if pair[1].fold == fold]
        tables = [_table(run, found) for run, found in judged]
        figures = [_curve(judged)]
        figures += [_by_fifths(judged, whose, what) for what in FORMS for whose in TITLES]
        blocks.append(Group(f"On the {fold} rows", [Grid(figures), *tables]))
    return Section("intervals", "Reliability of intervals", blocks)


def _curve(judged: Sequence[Judged]) -> Figure:
    lines = [
        Line(run.label or "held", [level.nominal for level in found.curve],
             [level.measured for level in found.curve], run.colour)
        for run, found in judged
    ]  # fmt: skip
    said = " ".join(_overall(run, found) for run, found in judged)
    chart = line_chart(
        lines, Names("share the interval should hold", "share it held"),
        f"Reliability curve. {said}", diagonal=True,
    )  # fmt: skip
    rows = [
        [f"{level.nominal:.0%}", *(f"{found.curve[n].measured:.1%}" for _, found in judged)]
        for n, level in enumerate(judged[0][1].curve)
    ]
    headings = ("should hold", *(run.named("held") for run, _ in judged))
    table = Table("Reliability curve", headings, rows, folded=True)
    legend = _legend(judged)
    return Figure("Promised and held", chart, f"{said} The line across is where both are equal.",
                  legend, table)  # fmt: skip


def _overall(run: Shown, found: Reliability) -> str:
    return run.named(
        f"{found.coverage:.1%} of {found.rows:,} ratings lay in intervals meant for "
        f"{found.nominal:.0%}; mean width {found.width:.2f} stars, where one width for all that "
        f"held as many would be {found.constant_width:.2f}."
    )


def _by_fifths(judged: Sequence[Judged], whose: str, what: str) -> Figure:
    """Coverage or width."""
    nominal = judged[0][1].nominal
    lines = [
        series(run.label or what, [getattr(band, what) for band in _bands(found, whose)],
               run.colour, dashed=False)
        for run, found in judged
    ]  # fmt: skip
    said = " ".join(_range(run, found, whose, what) for run, found in judged)
    rules = [Rule(nominal, f"should be {nominal:.0%}")] if what == "coverage" else []
    names = Names(WHOSE[whose], FORMS[what].axis, places(_bands(judged[0][1], whose)))
    title = f"{FORMS[what].title} {TITLES[whose]}"
    return Figure(title, line_chart(lines, names, said, rules), said, _legend(judged))


def _range(run: Shown, found: Reliability, whose: str, what: str) -> str:
    values = [getattr(band, what) for band in _bands(found, whose)]
    low, high = (format(value, FORMS[what].digits) for value in (min(values), max(values)))
    start = f"{run.label}: between" if run.label else "Between"
    return f"{start} {low} and {high}{FORMS[what].unit} in the fifths of {whose}."


def _bands(found: Reliability, whose: str) -> tuple[Band, ...]:
    return found.users if whose == "users" else found.items


def _legend(judged: Sequence[Judged]) -> list[Key]:
    return [Key(run.label, run.colour) for run, _ in judged] if len(judged) > 1 else []


def _table(run: Shown, found: Reliability) -> Table:
    rows = [
        [f"{number}", *_cells(user), *_cells(item)]
        for number, (user, item) in enumerate(zip_longest(found.users, found.items), start=1)
    ]
    one = ("ratings", "held", "mean width")
    return Table(
        f"Intervals by fifths, {run.named(found.fold)}",
        ("fifth", "users' histories", *one, "items' ratings", *one), rows, folded=True,
    )  # fmt: skip


def _cells(band: Band | None) -> tuple[str, ...]:
    if band is None:
        return ("",) * 4
    return spelled(band), f"{band.rows:,}", f"{band.coverage:.1%}", f"{band.width:.3f}"
