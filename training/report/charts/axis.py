"""Where values lie in a drawing, and which of them are named beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST_TICKS = 6
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
MARGIN = 0.06  # of the range, beyond the outermost values


@dataclass(frozen=True)
class Tick:
    """A value that is named."""

    value: float
    label: str


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on the way from `start` to `end`, in units of the drawing."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[Tick, ...]
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Where a value lies."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def linear(values: Iterable[float], start: float, end: float, *, whole: bool = False) -> Axis:
    """An axis that holds the values with room around; `whole` ones get whole ticks and no room."""
    low, high = _range(values)
    if not whole:
        room = MARGIN * (high - low)
        low, high = (low - room if low else 0.0), high + room
    step = max(_step(high - low), 1.0) if whole else _step(high - low)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple(Tick(n * step, number(n * step, step)) for n in range(first, last + 1))
    return Axis(low, high, start, end, ticks)


def logarithmic(values: Iterable[float], start: float, end: float) -> Axis:
    """An axis of equal ratios for values above 0."""
    low, high = _range(value for value in values if value > 0)
    low, high = low / 1.2, high * 1.2
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1,)):
        named = [d * 10.0**decade for decade in decades for d in digits]
        inside = [value for value in named if low <= value <= high]
        if len(inside) <= MOST_TICKS + 1:
            break
    ticks = tuple(Tick(value, f"{value:g}") for value in inside)
    return Axis(low, high, start, end, ticks, logarithmic=True)


def categories(labels: Sequence[str], start: float, end: float) -> Axis:
    """Places 0, 1, ... of equal room, each with its label."""
    ticks = tuple(Tick(float(place), label) for place, label in enumerate(labels))
    return Axis(-0.5, len(labels) - 0.5, start, end, ticks)


def number(value: float, step: float) -> str:
    """A value with the decimals that tell it from the next."""
    decimals = max(0, math.ceil(-math.log10(step) - 1e-9))
    if decimals > 5:
        return f"{value:.3g}"
    if round(step, decimals) != round(step, decimals + 2):  # 0.25 beside 0.3
        decimals += 1
    return f"{value:,.{decimals}f}"


def _range(values: Iterable[float]) -> tuple[float, float]:
    """Lowest and highest; a single value gets some room, and so does none."""
    held = list(values) or [0.0, 1.0]
    low, high = min(held), max(held)
    if low < high:
        return low, high
    return (low / 2, low * 2) if low > 0 else (low - 1, low + 1)


def _step(span: float) -> float:
    power = 10.0 ** math.floor(math.log10(span / MOST_TICKS))
    return next(step * power for step in STEPS if span / (step * power) <= MOST_TICKS)
