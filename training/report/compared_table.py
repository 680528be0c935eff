"""Two runs side by side in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.evaluation.scores import Estimate
from training.report.compared import Compared, FigurePair
from training.report.shown import decimal

CAPTION = (
    "+-: half of the 95% bootstrap interval; the better value is bold; apart: the two intervals "
    "do not overlap"
)


def print_compared(compared: Compared, console: Console) -> None:
    """Print who is who, whether they can be compared, the figures and what differs."""
    for letter, side in (("A", compared.a), ("B", compared.b)):
        console.print(
            f"[bold]{letter}[/bold]  {escape(side.name)} on {escape(side.data)}, {side.protocol}, "
            f"seed {side.seed}, split {side.split_digest[:12]}, code {side.code_version}"
        )
    if compared.why_not:
        console.print(f"[yellow]Not comparable:[/yellow] {escape(compared.why_not)}")
    console.print(_figures(compared))
    if compared.settings:
        console.print(_settings(compared))


def _figures(compared: Compared) -> Table:
    table = Table(title="Figures of the two models", caption=CAPTION)
    for name in ("fold", "figure"):
        table.add_column(name)
    for name in ("A", "B", "B - A", "intervals"):
        table.add_column(name, justify="right")
    for pair in compared.figures:
        table.add_row(pair.fold, pair.figure, *_cells(pair))
    return table


def _cells(pair: FigurePair) -> Iterator[str]:
    for letter, estimate in (("a", pair.a), ("b", pair.b)):
        text = _told(estimate)
        yield f"[bold]{text}[/bold]" if pair.better == letter else text
    yield "–" if pair.difference is None else f"{pair.difference:+.4f}"
    yield {None: "–", True: "overlap", False: "apart"}[pair.overlap]


def _told(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    return f"{decimal(estimate.value)} +-{(estimate.high - estimate.low) / 2:.4f}"


def _settings(compared: Compared) -> Table:
    table = Table(title="What differs in the configuration")
    table.add_column("setting")
    for name in ("A", "B"):
        table.add_column(name, overflow="fold")
    for one in compared.settings:
        table.add_row(one.setting, *("–" if v is None else escape(v) for v in (one.a, one.b)))
    return table
