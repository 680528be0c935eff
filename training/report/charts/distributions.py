"""How values are spread in each of some places: an outline as wide as values are many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from training.report.charts.axis import Axis, categories, linear
from training.report.charts.elements import dot, drawing, element, line, rectangle
from training.report.charts.frame import TOP, Place, frame
from training.report.charts.lines import Names

FULL = 0.46  # half the room of a place


@dataclass(frozen=True)
class Spread:
    """One place: rows in each bin, the 5, 25, 50, 75 and 95% quantiles, and what is aimed at."""

    label: str
    counts: Sequence[int]
    quantiles: Sequence[float]
    aim: tuple[float, float]
    told: str


def distribution_chart(
    spreads: Sequence[Spread], bins: Sequence[float], names: Names, alt: str, colour: int = 0
) -> Markup:
    """Outline, the middle half as a bar, the median as a point; a rule where the aim is."""
    place = Place(300.0)
    x = categories([spread.label for spread in spreads], place.left, place.right)
    y = linear((bins[0], bins[-1]), place.bottom, TOP + 8)
    parts = frame(place, x, y, names.x, names.y)
    for number, spread in enumerate(spreads):
        parts += _spread(number, spread, bins, (x, y), f"s{colour}")
    return drawing(place.height, alt, *parts)


def _spread(
    number: int, spread: Spread, bins: Sequence[float], axes: tuple[Axis, Axis], kind: str
) -> list[Markup]:
    x, y = axes
    middle, room = x.at(number), (x.at(1) - x.at(0)) * FULL
    _, lower, median, upper, _ = (y.at(value) for value in spread.quantiles)
    low, high = (y.at(end) for end in spread.aim)
    outline = _outline(spread.counts, bins, middle, room, y)
    return [
        rectangle(middle - room, min(low, high) - 1, 2 * room, abs(low - high) + 2, "aim"),
        element("polygon", points=outline, class_=f"shape {kind}"),
        line(middle, lower, middle, upper, f"half {kind}"),
        dot(middle, median, f"dot {kind}", spread.told, 4),
    ]


def _outline(
    counts: Sequence[int], bins: Sequence[float], middle: float, room: float, y: Axis
) -> str:
    """Both sides of a shape that is widest where the values are most."""
    most = max(counts) or 1
    centres = [(a + b) / 2 for a, b in pairwise(bins)]
    held = [i for i, count in enumerate(counts) if count] or [0]
    inside = range(held[0], held[-1] + 1)
    right = [(middle + room * counts[i] / most, y.at(centres[i])) for i in inside]
    left = [(2 * middle - px, py) for px, py in reversed(right)]
    return " ".join(f"{px:.1f},{py:.1f}" for px, py in right + left)
