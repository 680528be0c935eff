"""Two runs on one page: curves over each other, figures side by side, settings that differ.

Runs that were scored on different rows get a section each, so that no drawing sets figures against
each other that mean different things.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from training.evaluation.scores import FIGURES, Estimate
from training.flat_settings import flattened
from training.report.blocks import Block, Cell, Figure, Grid, Group, Note, Page, Section, Table
from training.report.charts.estimates import Row, estimate_chart
from training.report.compared import Compared, FigurePair
from training.report.record import RunReport
from training.report.sections.errors import errors_section
from training.report.sections.intervals import intervals_section
from training.report.sections.learning import learning_section
from training.report.sections.members import members_section
from training.report.sections.origin import WHEN, facts, time_section
from training.report.sections.results import BETTER, DRAWN, NAMES
from training.report.sections.stars import stars_section
from training.report.shown import Shown

CAUTION = (
    "Each interval is a 95% bootstrap interval of one run by itself. Both runs were scored on the "
    "same users, so intervals that overlap may still hide a real difference, and one seed of each "
    "says nothing about the next: make ablate tries several."
)


def compared_page(a: RunReport, b: RunReport, compared: Compared) -> Page:
    """What the page of two runs says."""
    runs = (Shown(a, "A", 0), Shown(b, "B", 1))
    parts = (learning_section, stars_section, errors_section, intervals_section, time_section)
    sections = [_section(part, runs, together=compared.comparable) for part in parts]
    return Page(
        title=f"{compared.a.folder} against {compared.b.folder}",
        lead=f"Two runs of Usher side by side. A: {a.name} on {a.data.source}, {a.protocol}, seed "
        f"{a.seed}. B: {b.name} on {b.data.source}, {b.protocol}, seed {b.seed}.",
        blocks=_summary(runs, compared),
        sections=[
            _figures(compared),
            sections[0],
            *_members(runs),
            *sections[1:],
            _settings(compared, a.configuration),
        ],
    )


def _section(
    part: Callable[[Sequence[Shown]], Section], runs: Sequence[Shown], *, together: bool
) -> Section:
    """One section of both; of runs that cannot be compared, a group each."""
    if together:
        return part(runs)
    each = [part([run]) for run in runs]
    groups = [
        Group(f"Run {run.label}", section.blocks) for run, section in zip(runs, each, strict=True)
    ]
    return Section(each[0].anchor, each[0].title, groups)


def _summary(runs: Sequence[Shown], compared: Compared) -> list[Block]:
    a, b = (dict(facts(run.report)) for run in runs)
    rows = [_row(name, a[name], b[name]) for name in a if name != WHEN]
    blocks: list[Block] = []
    if compared.why_not:
        blocks.append(Note(f"Not comparable. {compared.why_not}", "warning"))
    blocks += [
        Note(f"Early warning in run {run.label}: {warning}", "warning")
        for run in runs
        for warning in run.report.warnings
    ]
    table = Table("What the two runs were made of", ("fact", "A", "B"), rows, frozenset({1, 2}))
    return [*blocks, table]


def _row(name: str, a: str | None, b: str | None) -> list[str | Cell]:
    cells = ["–" if value is None else value for value in (a, b)]
    return [name, *(Cell(cell, "differs") if a != b else cell for cell in cells)]


def _figures(compared: Compared) -> Section:
    blocks: list[Block] = [Note(CAUTION)] if compared.comparable else []
    if compared.comparable:
        blocks.append(Grid(list(_drawn(compared))))
    for fold in dict.fromkeys(pair.fold for pair in compared.figures):
        pairs = [pair for pair in compared.figures if pair.fold == fold]
        rows = [_pair(pair) for pair in pairs]
        headings = ("figure", "A", "B", "B less A", "intervals")
        blocks.append(Table(f"The two models on the {fold} rows", headings, rows))
    return Section("figures", "Figures", blocks)


def _drawn(compared: Compared) -> Iterator[Figure]:
    """The figures of the first fold that both have."""
    first = compared.figures[0].fold
    for pair in compared.figures:
        if pair.fold == first and pair.figure in DRAWN and pair.a and pair.b:
            name, better = NAMES[pair.figure], BETTER[FIGURES[pair.figure]]
            said = (
                f"{name} on the {first} rows, {better}: A {pair.a.value:.4f}, B "
                f"{pair.b.value:.4f}, {pair.b.value - pair.a.value:+.4f}."
            )
            rows = [
                Row("A", pair.a.value, pair.a.low, pair.a.high, 0),
                Row("B", pair.b.value, pair.b.low, pair.b.high, 1),
            ]
            yield Figure(name, estimate_chart(rows, f"{name}, {better}", said), said)


def _pair(pair: FigurePair) -> list[str | Cell]:
    apart = {None: "", "a": "worse", "b": "better"}[pair.better] if pair.overlap is False else ""
    told = "–" if pair.difference is None else f"{pair.difference:+.4f}"
    sides = (("a", pair.a), ("b", pair.b))
    return [
        NAMES[pair.figure],
        *(_estimate(value, pair.better == letter) for letter, value in sides),
        Cell(told, apart),
        {None: "–", True: "overlap", False: "apart"}[pair.overlap],
    ]


def _estimate(value: Estimate | None, best: bool) -> str | Cell:
    if value is None:
        return "–"
    beside = f"{value.low:.4f} to {value.high:.4f}"
    return Cell(f"{value.value:.4f}", "best" if best else "", beside)


def _members(runs: Sequence[Shown]) -> list[Section]:
    groups = [
        Group(f"Run {run.label}", members_section(run.report.ensemble).blocks)
        for run in runs
        if run.report.ensemble
    ]
    return [Section("members", "Members", groups)] if groups else []


def _settings(compared: Compared, configuration: Mapping[str, object]) -> Section:
    """What differs first, then what is the same; `configuration` is that of a."""
    apart = [_row(one.setting, one.a, one.b) for one in compared.settings]
    names = {one.setting for one in compared.settings}
    alike = [[name, value] for name, value in flattened(configuration) if name not in names]
    differing = Table("Settings that differ", ("setting", "A", "B"), apart, frozenset({1, 2}))
    same = Table("Settings that are the same", ("setting", "A and B"), alike, frozenset({1}),
                 folded=True)  # fmt: skip
    first = differing if apart else Note("Both runs had the same settings.")
    return Section("configuration", "Configuration", [first, same])
