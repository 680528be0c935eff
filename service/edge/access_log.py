"""The access log: one JSON line for a request, written where no request waits for it.

It decides which requests are logged and what is said of them: never a query string, a header or a
body. The event loop only leaves a line's parts in a bounded queue; a thread makes text of them
and writes it, so a terminal or pipe that does not read costs lines, which are counted, and not
answers. The thread gathers for a moment before it writes: woken for every line it would take the
interpreter from the event loop that often.
"""

from __future__ import annotations

import json
import os
import select
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from random import Random
from typing import NamedTuple

from service.metrics import Metrics

GATHER_S = 0.05
LOGGED_PATH = 300
ATOMIC_WRITE = select.PIPE_BUF
"""Bytes that reach a pipe in one piece: workers share one, and must not cut each other's lines."""


class Line(NamedTuple):
    """What is said of a request. at: seconds since 1970, when it ended. size: bytes of the body."""

    at: float
    request_id: str
    method: str
    route: str | None
    path: str
    status: int
    cache: str | None
    seconds: float
    size: int


class AccessLog:
    """Writes lines to a file descriptor it does not own, until it is closed.

    `share` of the requests that succeed within `slow_s` are logged, and all others. At most
    `capacity` lines wait; those beyond it, and those that cannot be written, are only counted.
    """

    def __init__(
        self,
        descriptor: int,
        metrics: Metrics,
        share: float,
        slow_s: float,
        capacity: int,
        random: Random,
    ) -> None:
        self._descriptor = descriptor
        self._dropped = metrics.dropped_lines
        self._share = share
        self._slow_s = slow_s
        self._capacity = capacity
        self._random = random
        self._queue: SimpleQueue[Line | None] = SimpleQueue()
        self._closing = threading.Event()
        # A daemon, for it may wait for a reader for ever, and the process must end all the same.
        self._writer = threading.Thread(target=self._write_on, name="access-log", daemon=True)
        self._writer.start()

    def wants(self, status: int, seconds: float) -> bool:
        """Whether a request that ended so is logged. Status 0: it was given up unanswered."""
        if not 0 < status < 400 or seconds >= self._slow_s:
            return True
        return self._random.random() < self._share

    def add(self, line: Line) -> None:
        """Log a line, or drop it if too many wait; never waits. For one thread only."""
        if self._queue.qsize() < self._capacity:
            self._queue.put(line)
        else:
            self._dropped.inc()

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most `timeout_s`. No line may be added afterwards."""
        self._closing.set()
        self._queue.put(None)  # wakes the writer
        self._writer.join(timeout_s)

    def _write_on(self) -> None:
        while not (self._closing.is_set() and self._queue.empty()):
            first = self._queue.get()
            self._closing.wait(GATHER_S)
            self._write([line for line in (first, *self._waiting()) if line is not None])

    def _waiting(self) -> Iterator[Line | None]:
        try:
            while True:
                yield self._queue.get_nowait()
        except Empty:
            return

    def _write(self, lines: Sequence[Line]) -> None:
        for count, piece in _pieces([text_of(line) for line in lines]):
            try:
                _write_all(self._descriptor, piece)
            except OSError:  # a closed pipe, a full disk: requests are answered all the same
                self._dropped.inc(count)


def text_of(line: Line) -> bytes:
    """A line as it is written: JSON in ASCII, so whatever a path holds it stays one line."""
    at = datetime.fromtimestamp(line.at, UTC).isoformat(timespec="milliseconds")
    members = {
        "time": at.replace("+00:00", "Z"),
        "request_id": line.request_id,
        "method": line.method,
        "route": line.route,
        "path": line.path[:LOGGED_PATH],
        "status": line.status,
        "cache": line.cache,
        "ms": round(1000 * line.seconds, 3),
        "bytes": line.size,
    }
    return json.dumps(members, separators=(",", ":")).encode() + b"\n"


def _pieces(lines: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Whole lines together, as many as one atomic write takes, and how many they are."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > ATOMIC_WRITE:
            yield len(piece), b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield len(piece), b"".join(piece)


def _write_all(descriptor: int, text: bytes) -> None:
    """Write all of it, waiting as long as it takes, also where the descriptor does not."""
    while text:
        try:
            text = text[os.write(descriptor, text) :]
        except BlockingIOError:  # whoever shares the terminal or pipe with us asked for that
            select.select([], [descriptor], [])
