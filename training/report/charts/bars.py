"""Bars from 0, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from training.report.charts.axis import categories
from training.report.charts.elements import drawing, rectangle, text

ROW = 24.0
LABELS, VALUES = 108.0, 72.0


@dataclass(frozen=True)
class Bar:
    """A value from 0 on, and how it is told."""

    label: str
    value: float
    told: str
    colour: int = 0


def bar_chart(bars: Sequence[Bar], alt: str) -> Markup:
    """The longest bar is as long as there is room."""
    height = ROW * len(bars) + 8
    y = categories([bar.label for bar in bars], 4, height - 4)
    longest = max((bar.value for bar in bars), default=0.0) or 1.0
    room = 440 - LABELS - VALUES
    parts: list[Markup] = []
    for number, bar in enumerate(bars):
        at, length = y.at(number), bar.value / longest * room
        parts += [
            text(LABELS - 8, at + 4, bar.label, "end"),
            rectangle(LABELS, at - 7, max(length, 1), 14, f"bar s{bar.colour}"),
            text(LABELS + max(length, 1) + 6, at + 4, bar.told, "start"),
        ]
    return drawing(height, alt, *parts)
