"""A run on a page: alone, or as one of two that are told apart by a letter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.report.blocks import Block, Note
from training.report.record import RunReport


@dataclass(frozen=True)
class Shown:
    """label: "" of a run alone. colour: that of its lines."""

    report: RunReport
    label: str = ""
    colour: int = 0

    def named(self, name: str) -> str:
        """A name that says whose it is, where there are two."""
        return f"{self.label}: {name}" if self.label and name else self.label or name


def missing(runs: Sequence[Shown], field: str, what: str) -> list[Block]:
    """A note for each run whose report is older than a field, or whose protocol has none of it."""
    return [Note(_reason(run, field, what), "missing") for run in runs if _is_missing(run, field)]


def _is_missing(run: Shown, field: str) -> bool:
    return not getattr(run.report, field)


def _reason(run: Shown, field: str, what: str) -> str:
    whose = f"Run {run.label}" if run.label else "This run"
    if run.report.lacks(field):
        return (
            f"{whose}'s report.json was written by a version that did not keep {what}; make the "
            "run again to see them here."
        )
    if not run.report.stars:
        return f"{whose} has no {what}: the protocol {run.report.protocol} reports no stars."
    return f"{whose} has no {what}."


def decimal(value: float | None, digits: int = 4) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"
