"""How the reliability of intervals is shown: the fifths as a table, the curve as bars of text."""

from __future__ import annotations

from itertools import zip_longest

from rich.console import Group, RenderableType
from rich.table import Table

from training.evaluation.reliability import Band, Level, Reliability

BAR = 40  # characters for 100%


def reliability_table(found: Reliability) -> RenderableType:
    """The fifths of users and items beside each other, over the curve."""
    return Group(_fifths(found), _curve(found))


def _fifths(found: Reliability) -> Table:
    table = Table(
        title=f"Intervals on {found.fold}: {found.coverage:.1%} of {found.rows:,} ratings held by "
        f"intervals of {found.nominal:.0%}",
        caption=f"mean width {found.width:.3f} stars, clipped to the scale; of one constant width "
        f"with the same coverage {found.constant_width:.3f}",
    )
    for whose, size in (("users", "history"), ("items", "ratings")):
        for name in (f"fifth of {whose}, by {size}", "rows", "held", "width"):
            table.add_column(name, justify="right")
    for user, item in zip_longest(found.users, found.items):
        table.add_row(*_cells(user), *_cells(item))
    return table


def _cells(band: Band | None) -> tuple[str, ...]:
    if band is None:
        return ("",) * 4
    size = f"{band.smallest:,} to {band.largest:,}"
    return size, f"{band.rows:,}", f"{band.coverage:.1%}", f"{band.width:.3f}"


def _curve(found: Reliability) -> Table:
    table = Table(box=None, caption="|: what it should be; =: what it is")
    for name in ("interval", "held"):
        table.add_column(name, justify="right")
    table.add_column("reliability curve")
    for level in found.curve:
        table.add_row(f"{level.nominal:.0%}", f"{level.measured:.1%}", _bar(level))
    return table


def _bar(level: Level) -> str:
    length, mark = round(level.measured * BAR), round(level.nominal * BAR)
    bar = ("=" * length).ljust(BAR + 1)
    return bar[:mark] + "|" + bar[mark + 1 :]
