"""Tuning on validation: one setting at a time, the others held at the best so far.

Rounds over all settings go on until one changes nothing, or `rounds` are done; nothing is tried
twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Settings = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """Where to start, and the values to try of each setting, in the order of trying.

    figure: what is followed on the validation fold. higher: whether more of it is better.
    """

    start: Settings
    grid: dict[str, tuple[Any, ...]]
    figure: str
    higher: bool
    rounds: int = 2


@dataclass(frozen=True)
class Found:
    """The best settings and their figure, and every trial made on the way."""

    settings: Settings
    value: float
    trials: tuple[tuple[Settings, float], ...]


def search(space: Search, trial: Callable[[Settings], float]) -> Found:
    """Try settings from the grid; `trial` gives the followed figure of one fit."""
    tried: dict[tuple[Any, ...], float] = {}

    def value_of(settings: Settings) -> float:
        key = tuple(sorted(settings.items()))
        if key not in tried:
            tried[key] = trial(settings)
        return tried[key] if space.higher else -tried[key]

    best = space.start
    for _ in range(space.rounds):
        before = best
        for name, values in space.grid.items():
            candidates = [best, *(best | {name: value} for value in values)]
            best = max(candidates, key=value_of)
        if best == before:
            break
    trials = tuple((dict(key), value) for key, value in tried.items())
    return Found(best, tried[tuple(sorted(best.items()))], trials)
