"""How far a batch is, on the standard error: one line that moves, or one now and then in a log."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

TERMINAL_S, LOG_S = 0.2, 10.0


class Progress:
    """Tells users done, how many a second and how long it may take still."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        """clock: seconds that never go back."""
        self._stream = stream
        self._clock = clock
        self._moves = stream.isatty()
        self._every_s = TERMINAL_S if self._moves else LOG_S
        self._total = self._done = 0
        self._began = self._told = clock()

    def begin(self, total: int) -> None:
        """So many users are to be done."""
        self._total, self._done = total, 0
        self._began = self._told = self._clock()

    def add(self, users: int) -> None:
        """So many more are."""
        self._done += users
        now = self._clock()
        if now - self._told >= self._every_s:
            self._told = now
            self._tell(self._done / (now - self._began))

    def end(self) -> None:
        """Leave the terminal's line clean."""
        if self._moves:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _tell(self, rate: float) -> None:
        left_s = round((self._total - self._done) / rate)
        line = (
            f"{self._done:,} of {self._total:,} users, {rate:,.0f} a second, "
            f"{left_s // 60}:{left_s % 60:02} to go"
        )
        self._stream.write(f"\r\x1b[K{line}" if self._moves else f"{line}\n")
        self._stream.flush()
