"""Who is told what: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

WIDEST = 160  # columns of the widest table


@dataclass(frozen=True)
class Terminal:
    """told: a person who waits. output: who asked for the result."""

    told: Console
    output: Console


def voice(console: Console) -> Callable[[str], None]:
    """What tells a person things: plain lines that a terminal wraps."""

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    return say


def output(width: int = 120) -> Console:
    """Standard output; wide enough for the table where there is no terminal to ask."""
    return Console() if sys.stdout.isatty() else Console(width=width)
