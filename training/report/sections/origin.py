"""Where a run comes from: data and licence, split, code, settings, and where its time went."""

from __future__ import annotations

from collections.abc import Sequence

from training.flat_settings import flattened
from training.report.blocks import Block, Facts, Figure, Grid, Note, Section, Table
from training.report.charts.bars import Bar, bar_chart
from training.report.record import RunReport
from training.report.shown import Shown

WHEN = "Finished"


def facts(report: RunReport) -> list[tuple[str, str]]:
    """What a run was made of, in the order a reader asks."""
    data = report.data
    return [
        ("Data", f"{data.source}: {data.ratings:,} ratings by {data.users:,} users of "
                 f"{data.items:,} items"),
        ("Licence of the data", data.licence),
        ("Digest of the data", data.digest),
        ("Protocol", f"{report.protocol}, split seed {report.split_seed}"),
        ("Digest of the split", report.split_digest),
        ("Configuration", f"{report.name}, training seed {report.seed}"),
        ("Fitted on", f"{report.fit_rows:,} ratings to choose {chosen(report)}, then "
                      f"{report.refit_rows:,} ratings"),
        ("Scale", scale(report)),
        ("Code", report.code_version),
        (WHEN, report.created_at or "not in this report.json, which an older version wrote"),
    ]  # fmt: skip


def origin_section(report: RunReport) -> Section:
    """The facts, and a word on whose ratings the page shows."""
    blocks: list[Block] = [
        Facts(facts(report)),
        Note("The licence of the data holds for this page too: it shows ratings of the users "
             "above under Examples."),
    ]  # fmt: skip
    return Section("origin", "Data, licence and code", blocks if report.examples else blocks[:1])


def time_section(runs: Sequence[Shown]) -> Section:
    """Seconds by stage."""
    return Section("time", "Where the time went", [Grid([_stages(run) for run in runs])])


def configuration_section(report: RunReport) -> Section:
    """Every setting, one row each."""
    rows = [[name, value] for name, value in flattened(report.configuration)]
    table = Table("Every setting of the run", ("setting", "value"), rows, frozenset({1}))
    return Section("configuration", "Configuration", [table])


def chosen(report: RunReport) -> str:
    """What was chosen on validation."""
    if report.chosen_epoch is None:
        return "members' epochs and weights"
    return f"epoch {report.chosen_epoch}"


def scale(report: RunReport) -> str:
    """The ratings there can be."""
    if report.rating_scale is None:
        return "not in this report.json, which an older version wrote"
    known = report.rating_scale
    return f"{known.minimum:g} to {known.maximum:g} in steps of {known.step:g}"


def _stages(run: Shown) -> Figure:
    total = sum(run.report.seconds.values())
    bars = [
        Bar(name, value, f"{value:,.1f} s", run.colour)
        for name, value in run.report.seconds.items()
    ]
    said = f"{total:,.0f} s in all: " + ", ".join(f"{b.label} {b.told}" for b in bars) + "."
    return Figure(run.named("seconds by stage"), bar_chart(bars, said), said)
