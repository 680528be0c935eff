"""A circuit breaker: after failures in a row, leave what fails alone for a while.

closed      everybody may call; `failures` in a row open it
open        nobody may call for `rest_s` seconds
half open   one caller may try: success closes the circuit, failure opens it again
"""

from __future__ import annotations

from collections.abc import Callable


class Circuit:
    """One breaker. `clock` gives seconds that never go back."""

    def __init__(self, failures: int, rest_s: float, clock: Callable[[], float]) -> None:
        self._limit = failures
        self._rest_s = rest_s
        self._clock = clock
        self._failures = 0
        self._closed = True
        self._retry_at = 0.0

    def admits(self) -> bool:
        """Whether a caller may try now; who is admitted must tell how it ended."""
        if self._closed:
            return True
        now = self._clock()
        if now < self._retry_at:
            return False
        self._retry_at = now + self._rest_s  # the others rest on while this one tries
        return True

    def succeeded(self) -> None:
        """The call went well."""
        self._failures = 0
        self._closed = True

    def failed(self) -> None:
        """The call failed."""
        self._failures += 1
        if not self._closed or self._failures >= self._limit:
            self._closed = False
            self._retry_at = self._clock() + self._rest_s

    def released(self) -> None:
        """The call was given up before it could tell; the next caller may try at once."""
        if not self._closed:
            self._retry_at = self._clock()
