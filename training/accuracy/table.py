"""The table of accuracy: one line a model, medians over its seeds, the best of each figure bold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import median

from rich.table import Table

from training.accuracy.record import FIELDS, Row
from training.evaluation.scores import FIGURES

# The figures a row has, under its names for them, and whether more is better; None: neither is.
SHOWN = {field: FIGURES[name] for name, field in FIELDS.items()}
Medians = dict[str, float]


def accuracy_table(rows: Sequence[Row]) -> Table:
    """The rows of a record, which are in its order, as one table."""
    table = Table(
        title="Accuracy on held-out ratings",
        caption="medians over seeds; *: can be served; - no answer; minutes: training and refit, "
        "search excluded",
    )
    for name in ("data, protocol", "model", "seeds"):
        table.add_column(name)
    for name in (*SHOWN, "minutes"):
        table.add_column(name.replace("precision", "prec."), justify="right")
    for place, group in groupby(rows, _place):
        _add_place(table, place, list(group))
    return table


def medians(rows: Sequence[Row]) -> Medians:
    """Median of each figure over the rows that have it."""
    each = [row.model_dump(mode="json") for row in rows]
    values = {name: [row[name] for row in each if row[name] is not None] for name in SHOWN}
    return {name: median(found) for name, found in values.items() if found}


def _place(row: Row) -> str:
    seen = "" if row.fold_in is None else f"\n{row.fold_in}% visible"
    return f"{row.data}\n{row.protocol}{seen}"


def _add_place(table: Table, place: str, rows: list[Row]) -> None:
    by_model = {model: list(group) for model, group in groupby(rows, lambda row: row.model)}
    figures = {model: medians(group) for model, group in by_model.items()}
    best = _best(list(figures.values()))
    first, *rest = place.split("\n")
    labels = [first, *rest] + [""] * len(by_model)
    for label, (model, group) in zip(labels, by_model.items(), strict=False):
        cells = [_cell(figures[model].get(name), best.get(name)) for name in SHOWN]
        minutes = median(row.train_seconds for row in group) / 60
        name = f"{model} *" if group[0].served else model
        table.add_row(label, name, str(len(group)), *cells, f"{minutes:.1f}")
    for label in labels[len(by_model) : len(rest) + 1]:
        table.add_row(label)
    table.add_section()


def _best(figures: list[Medians]) -> Medians:
    best = {}
    for name, more_is_better in SHOWN.items():
        values = [each[name] for each in figures if name in each]
        if values and more_is_better is not None:
            best[name] = max(values) if more_is_better else min(values)
    return best


def _cell(value: float | None, best: float | None) -> str:
    if value is None:
        return "-"
    return f"[bold]{value:.4f}[/bold]" if value == best else f"{value:.4f}"
