"""A closed loop of requests on open connections: each asks again as soon as it was answered.

The client is raw asyncio, so that on its core it has strength to spare; what an answer says is
checked afterwards, by how the cache has grown (`served.py`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

HOST = "127.0.0.1"


class Unanswered(Exception):
    """A request got another status than 200."""


@dataclass(frozen=True)
class Timed:
    """latencies_ms: float64 [requests]. seconds: how long all of them took together."""

    latencies_ms: NDArray[np.float64]
    seconds: float

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return len(self.latencies_ms) / self.seconds


async def keep_busy(
    port: int, requests: Iterator[bytes], connections: int, seconds: float
) -> Timed:
    """Keep `connections` connections busy for some seconds, or until there is nothing left to ask.

    Raises Unanswered.
    """
    began = perf_counter()
    loops = [_loop(port, requests, began + seconds) for _ in range(connections)]
    latencies = list(itertools.chain.from_iterable(await asyncio.gather(*loops)))
    return Timed(np.array(latencies), perf_counter() - began)


async def ask_all(port: int, requests: list[bytes]) -> list[bytes]:
    """The body of each answer, asked for one after the other. Raises Unanswered."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        return [await _ask(reader, writer, request) for request in requests]
    finally:
        writer.close()


async def _loop(port: int, requests: Iterator[bytes], until: float) -> list[float]:
    """One connection's latencies, in milliseconds."""
    reader, writer = await asyncio.open_connection(HOST, port)
    latencies = []
    try:
        for request in requests:
            if (began := perf_counter()) >= until:
                break
            await _ask(reader, writer, request)
            latencies.append(1000 * (perf_counter() - began))
    finally:
        writer.close()
    return latencies


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, rest = head.lower().partition(b"content-length:")
    body = await reader.readexactly(int(rest.partition(b"\r\n")[0]))
    if not head.startswith(b"HTTP/1.1 200"):
        raise Unanswered(f"{request[:200]!r} was answered {head[:40]!r}: {body[:200]!r}")
    return body
