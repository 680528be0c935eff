"""The experiment record as tables: runs from best to worst, and what differs between them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from training.experiments.listing import Listed, differing

COLUMNS = 6  # configurations side by side
ID_LETTERS = 8  # enough to tell a run by, for make report and make compare
SHOWN = {"RMSE": "rmse", "NDCG@100": "ndcg"}


def runs_table(place: tuple[str, str], runs: Sequence[Listed], by: str) -> Table:
    """The runs of one data set and protocol, numbered in their order."""
    table = Table(
        title=f"{place[0]}, {place[1]}: {len(runs)} runs, by {by} of the first test fold",
        caption="validation is what choices follow; test figures are for reporting",
    )
    table.add_column("#", justify="right")
    for name in ("id", "run", "command", "started", "outcome"):
        table.add_column(name)
    for fold in ("test", "validation"):
        for name in SHOWN:
            table.add_column(f"{fold} {name}", justify="right")
    for name in ("epoch", "minutes", "warnings"):
        table.add_column(name, justify="right")
    table.add_column("code")
    for number, run in enumerate(runs, start=1):
        table.add_row(str(number), *_cells(run))
    return table


def differences_table(runs: Sequence[Listed]) -> Table | None:
    """The best configurations side by side, where they differ; None if there is but one.

    A configuration is headed by the numbers of its runs, which differ in seed or code alone.
    """
    alike = _alike(runs)[:COLUMNS]
    differences = differing([runs[numbers[0] - 1] for numbers in alike])
    if not differences:
        return None
    table = Table(title="What differs")
    table.add_column("run")
    for numbers in alike:
        table.add_column(", ".join(map(str, numbers)), overflow="fold")
    for name, values in differences.items():
        table.add_row(name, *("-" if value is None else escape(value) for value in values))
    return table


def _alike(runs: Sequence[Listed]) -> list[list[int]]:
    """Numbers of the runs of each model and configuration, in the order of the best of them."""
    groups: list[list[int]] = []
    for number, run in enumerate(runs, start=1):
        for group in groups:
            first = runs[group[0] - 1]
            if first.model == run.model and not differing([first, run]):
                group.append(number)
                break
        else:
            groups.append([number])
    return groups


def _cells(run: Listed) -> list[str]:
    began = datetime.fromtimestamp(run.started, UTC)
    figures = [run.figure(by, fold) for fold in (None, "validation") for by in SHOWN.values()]
    return [
        run.run_id[:ID_LETTERS],
        escape(run.name),
        run.command,
        f"{began:%Y-%m-%d %H:%M}",
        run.outcome,
        *("-" if value is None else f"{value:.4f}" for value in figures),
        "-" if run.epoch is None else str(run.epoch),
        "-" if run.seconds is None else f"{run.seconds / 60:.1f}",
        str(len(run.warnings)),
        run.code,
    ]
