"""Lines over a number or over places in an order, with rules that say where something lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from training.report.charts.axis import Axis, categories, linear, logarithmic
from training.report.charts.elements import dot, drawing, element, line, text
from training.report.charts.frame import TOP, Place, frame

MOST_DOTS = 40  # points of a line that are still told apart


@dataclass(frozen=True)
class Series:
    """A line. colour: 0 to 7. Where it has no value, y is None."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    colour: int
    dashed: bool = False

    @property
    def points(self) -> list[tuple[float, float]]:
        """Where it has values."""
        return [(x, y) for x, y in zip(self.xs, self.ys, strict=True) if y is not None]


@dataclass(frozen=True)
class Rule:
    """A line across at a value of y, or of x if it stands. kind: warning or note."""

    value: float
    label: str
    kind: str = "note"
    stands: bool = False


@dataclass(frozen=True)
class Names:
    """What the axes are called, and the places of x where it is no number."""

    x: str
    y: str
    places: tuple[str, ...] = ()


def line_chart(
    series: Sequence[Series],
    names: Names,
    alt: str,
    rules: Sequence[Rule] = (),
    *,
    ratios: bool = False,
    diagonal: bool = False,
) -> Markup:
    """The lines; `ratios`: y in equal ratios, `diagonal`: shares, and where y would be x."""
    place = Place()
    whole = [0.0, 1.0] if diagonal else []
    xs = [x for one in series for x, _ in one.points] + whole
    ys = [y for one in series for _, y in one.points] + whole
    ys += [rule.value for rule in rules if not rule.stands]
    x = (
        categories(names.places, place.left, place.right)
        if names.places
        else linear(xs, place.left + 8, place.right - 8, whole=not diagonal)
    )
    y = (logarithmic if ratios else linear)(ys, place.bottom, TOP + 8)
    parts = frame(place, x, y, names.x, names.y)
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(line(x.at(low), y.at(low), x.at(high), y.at(high), "rule note"))
    parts += [_rule(rule, place, x, y) for rule in rules]
    for one in series:
        parts += _line(one, x, y, names.places)
    parts += [_label(rule, place, x, y) for rule in rules]
    return drawing(place.height, alt, *parts)


def _rule(rule: Rule, place: Place, x: Axis, y: Axis) -> Markup:
    if rule.stands:
        at = x.at(rule.value)
        return line(at, TOP + 8, at, place.bottom, f"rule {rule.kind}")
    at = y.at(rule.value)
    return line(place.left, at, place.right, at, f"rule {rule.kind}")


def _label(rule: Rule, place: Place, x: Axis, y: Axis) -> Markup:
    """Drawn last, so that no line runs through it."""
    kind = f"label {rule.kind}"
    if rule.stands:
        at = x.at(rule.value)
        late = at > (place.left + place.right) / 2
        return text(
            at - 4 if late else at + 4, place.bottom - 6, rule.label,
            "end" if late else "start", kind,
        )  # fmt: skip
    at = y.at(rule.value)
    below = at < TOP + 22
    return text(place.right, at + (13 if below else -5), rule.label, "end", kind)


def _line(one: Series, x: Axis, y: Axis, places: tuple[str, ...]) -> list[Markup]:
    points = [(px, py) for px, py in one.points if py > 0 or not y.logarithmic]
    kind = f"s{one.colour}" + (" dashed" if one.dashed else "")
    path = " ".join(f"{x.at(px):.1f},{y.at(py):.1f}" for px, py in points)
    parts = [element("polyline", points=path, class_=f"line {kind}")]
    if len(points) <= MOST_DOTS:
        parts += [
            dot(x.at(px), y.at(py), f"dot {kind}", _told(one.label, px, py, places))
            for px, py in points
        ]
    return parts


def _told(label: str, x: float, y: float, places: tuple[str, ...]) -> str:
    return f"{label}, {places[int(x)] if places else format(x, 'g')}: {y:.4g}"
