"""Figures by fifths of users and items, as lines over five places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from training.report.charts.lines import Series

WHOSE = {"users": "ratings in the history", "items": "ratings of the item"}
TITLES = {"users": "by the user's activity", "items": "by the item's popularity"}


class Band(Protocol):
    """A fifth, whatever was measured in it."""

    @property
    def smallest(self) -> int:
        """Ratings of the smallest in it."""

    @property
    def largest(self) -> int:
        """Ratings of the largest in it."""

    @property
    def rows(self) -> int:
        """Scored rows."""


def places(bands: Sequence[Band]) -> tuple[str, ...]:
    """What each fifth is called below an axis."""
    return tuple(
        f"{short(band.smallest)}–{short(band.largest)}" if band.smallest < band.largest
        else short(band.smallest)
        for band in bands
    )  # fmt: skip


def spelled(band: Band) -> str:
    """What a fifth is called in a table."""
    return f"{band.smallest:,} to {band.largest:,}"


def series(label: str, values: Sequence[float | None], colour: int, *, dashed: bool) -> Series:
    """A line over the fifths."""
    return Series(label, range(len(values)), values, colour, dashed)


def short(count: int) -> str:
    """A count in at most four letters."""
    if count < 1000:
        return str(count)
    if count < 100_000:
        return f"{count / 1000:.2g}k" if count < 10_000 else f"{count / 1000:.0f}k"
    return f"{count / 1e6:.2g}M"
