"""The ground of a chart: grid, ticks and the names of both axes."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from training.report.charts.axis import Axis
from training.report.charts.elements import WIDTH, line, text

LEFT, RIGHT, TOP, BOTTOM = 56.0, WIDTH - 14, 16.0, 46.0


@dataclass(frozen=True)
class Place:
    """The room of a chart of some height that is left for what it shows."""

    height: float = 270.0
    left: float = LEFT
    right: float = RIGHT

    @property
    def bottom(self) -> float:
        """Where the axis of x lies."""
        return self.height - BOTTOM


def frame(place: Place, x: Axis, y: Axis, x_name: str, y_name: str = "") -> list[Markup]:
    """Lines across at the ticks of y, and all names; y's own stands over its axis."""
    parts = [line(place.left, y.at(t.value), place.right, y.at(t.value), "grid") for t in y.ticks]
    parts += [text(place.left - 6, y.at(t.value) + 4, t.label, "end") for t in y.ticks]
    parts += [text(x.at(t.value), place.bottom + 17, t.label) for t in x.ticks]
    parts += [
        line(place.left, place.bottom, place.right, place.bottom, "axis"),
        text((place.left + place.right) / 2, place.height - 8, x_name, kind="name"),
    ]
    if y_name:
        parts.append(text(4, 11, y_name, "start", kind="name"))
    return parts
