"""A run as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.ensembles.ensemble_report import members_table
from training.evaluation.reliability_table import reliability_table
from training.evaluation.scores import results_table
from training.evaluation.star_errors import ErrorBand, StarErrors
from training.report.record import RunReport

LEVELS = "▁▂▃▄▅▆▇█"
SPARKS = 60


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
    for errors in report.star_errors:
        console.print(_errors(errors))


def _errors(errors: StarErrors) -> Table:
    """RMSE of the model and of the baselines by fifths, beside each other."""
    table = Table(title=f"RMSE on {errors.fold}, by fifths")
    names = list(errors.users[0].rmse) if errors.users else []
    for whose, size in (("users", "history"), ("items", "ratings")):
        table.add_column(f"fifth of {whose}, by {size}", justify="right")
        for name in names:
            table.add_column(name, justify="right")
    for pair in zip_longest(errors.users, errors.items):
        table.add_row(*(cell for band in pair for cell in _band(band, names)))
    return table


def _band(band: ErrorBand | None, names: Sequence[str]) -> list[str]:
    if band is None:
        return [""] * (1 + len(names))
    return [f"{band.smallest:,} to {band.largest:,}", *(f"{band.rmse[name]:.4f}" for name in names)]


def _curves(report: RunReport) -> Iterator[tuple[str, str]]:
    """What was followed on validation, epoch by epoch, from lowest to highest."""
    for name, shown in (("validation_rmse", "RMSE"), ("validation_ndcg", "NDCG@100")):
        values = [epoch[name] for epoch in report.epochs if name in epoch]
        if values:
            first, last = f"{values[0]:.4f}", f"{values[-1]:.4f}"
            yield f"{shown}, epochs", f"{first} {_sparks(values)} {last} on validation rows"


def _sparks(values: Sequence[float]) -> str:
    """One letter a value, at most SPARKS of them."""
    every = -(-len(values) // SPARKS)
    some = values[::every]
    low, span = min(some), max(some) - min(some) or 1.0
    return "".join(LEVELS[round((value - low) / span * (len(LEVELS) - 1))] for value in some)


def _gaps(report: RunReport) -> Iterator[tuple[str, str]]:
    if report.gaps:
        told = ", ".join(f"{name} {gap:.3f}" for name, gap in report.gaps.items())
        yield "gap", f"RMSE on validation rows less that on training rows, as chosen: {told}"


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
        *_curves(report),
        *_gaps(report),
        ("took", ", ".join(f"{name} {value:.0f} s" for name, value in report.seconds.items())),
        ("code", report.code_version),
    )  # fmt: skip
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(f"[bold]{name}[/bold]", escape(value))
    return table
