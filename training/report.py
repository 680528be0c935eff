"""What a run leaves behind: report.json for machines, tables for people.

A RunReport holds every figure; whatever shows a run reads it from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.manifest import DataRecord
from training.ensembles.ensemble_report import EnsembleReport, members_table
from training.evaluation.reliability import Reliability
from training.evaluation.reliability_table import reliability_table
from training.evaluation.scores import Comparison, results_table


class RunReport(BaseModel):
    """One run: what was fitted on what, what was chosen, and every held-out figure."""

    model_config = ConfigDict(frozen=True)

    configuration: dict[str, Any]
    data: DataRecord
    protocol: str
    split_seed: int
    split_digest: str
    seed: int
    fit_rows: int
    refit_rows: int
    chosen_epoch: int | None
    epochs: list[dict[str, float]]
    warnings: list[str]
    ensemble: EnsembleReport | None
    validation: Comparison
    tests: list[Comparison]
    reliability: list[Reliability]
    seconds: dict[str, float]
    code_version: str


def write_report(report: RunReport, folder: Path) -> Path:
    """Write report.json into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.json"
    path.write_text(report.model_dump_json(indent=2))
    return path


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
