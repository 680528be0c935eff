"""Values with their intervals, one below the other; the first is what the rest is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from training.report.charts.axis import categories, linear
from training.report.charts.elements import dot, drawing, line, rectangle, text
from training.report.charts.frame import Place, frame

ROW = 26.0
TOP = 10.0
LABELS, VALUES = 108.0, 58.0  # room for words on the left and figures on the right


@dataclass(frozen=True)
class Row:
    """A value and the ends of its interval."""

    label: str
    value: float
    low: float
    high: float
    colour: int


def estimate_chart(rows: Sequence[Row], name: str, alt: str) -> Markup:
    """One row each; a band shows the interval of the first through all of them."""
    height = TOP + ROW * len(rows) + 46
    place = Place(height, LABELS, 440 - VALUES)
    ends = [end for row in rows for end in (row.low, row.high)]
    x = linear(ends, place.left, place.right)
    y = categories([row.label for row in rows], TOP, place.bottom)
    first = rows[0]
    band = rectangle(
        x.at(first.low), TOP, max(x.at(first.high) - x.at(first.low), 1), place.bottom - TOP, "band"
    )
    parts = [band, *frame(place, x, y, name)]
    for number, row in enumerate(rows):
        at, kind = y.at(number), f"s{row.colour}"
        told = f"{row.label}: {row.value:.4f}, 95% interval {row.low:.4f} to {row.high:.4f}"
        parts += [
            line(x.at(row.low), at, x.at(row.high), at, f"line {kind}"),
            dot(x.at(row.value), at, f"dot {kind}", told, 4.5),
            text(440, at + 4, f"{row.value:.4f}", "end"),
        ]
    return drawing(height, alt, *parts)
