"""A run as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.ensembles.ensemble_report import members_table
from training.evaluation.reliability_table import reliability_table
from training.evaluation.scores import results_table
from training.report.record import RunReport


def print_report(report: RunReport, console: Console) -> None:
    """Print the run's facts, its warnings and the tables of each test fold."""
    console.print(_facts(report))
    for warning in report.warnings:
        console.print(f"[yellow]Early warning:[/yellow] {escape(warning)}")
    if report.ensemble is not None:
        console.print(members_table(report.ensemble))
    for comparison in report.tests:
        console.print(results_table(comparison))
    for found in report.reliability:
        console.print(reliability_table(found))


def _chosen(report: RunReport) -> str:
    if report.chosen_epoch is None:
        return "members' epochs and weights"
    return f"epoch {report.chosen_epoch}"


def _facts(report: RunReport) -> Table:
    data = report.data
    rows: Sequence[tuple[str, str]] = (
        ("data", f"{data.source}: {data.ratings:,} ratings, {data.users:,} users, "
                 f"{data.items:,} items"),
        ("protocol", f"{report.protocol}, split seed {report.split_seed}, "
                     f"digest {report.split_digest[:12]}"),
        ("configuration", f"{report.configuration['name']}, seed {report.seed}"),
        ("fitted", f"{report.fit_rows:,} rows to choose {_chosen(report)}, "
                   f"then {report.refit_rows:,} rows"),
        ("took", ", ".join(f"{name} {value:.0f} s" for name, value in report.seconds.items())),
        ("code", report.code_version),
    )  # fmt: skip
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(f"[bold]{name}[/bold]", escape(value))
    return table
