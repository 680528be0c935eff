"""What happens to the service while it is called: both Redis fail in turn, the model is swapped."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from service.bundles import activate
from tests.benchmarks.soak.callers import Book
from tests.service_fixtures import RedisServer

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@dataclass
class Phase:
    """A stretch of the run with one fault, or none; moments of perf_counter."""

    name: str
    begins: float
    ends: float = 0.0


@dataclass
class Faults:
    """Everything that can be broken, and what was."""

    cache: RedisServer
    ratings: RedisServer
    pointer: Path
    book: Book
    bundles: dict[str, str]
    """Folders by digest."""
    phases: list[Phase]

    async def run(self, seconds: float) -> None:
        """A schedule of faults over so many seconds, each followed by a stretch without."""
        later = next(digest for digest in self.bundles if digest != self.book.activated[-1])
        first = self.book.activated[-1]
        faults: list[tuple[str, Callable[[float], Awaitable[None]]]] = [
            ("cache killed, restarted empty", self.kill_cache),
            ("cache paused", self.pause_cache),
            ("cache answers garbage", self.garble_cache),
            ("model swapped", lambda lasts: self.swap(later, lasts)),
            ("ratings killed, restarted with their file", self.kill_ratings),
            ("model swapped back", lambda lasts: self.swap(first, lasts)),
        ]
        lasts = seconds / (2 * len(faults) + 1)
        await self._phase("normal", asyncio.sleep(lasts))
        for name, fault in faults:
            await self._phase(name, fault(lasts))
            await self._phase("normal", asyncio.sleep(lasts))

    async def _phase(self, name: str, awaited: Awaitable[None]) -> None:
        phase = Phase(name, perf_counter())
        self.phases.append(phase)
        await awaited
        phase.ends = perf_counter()

    async def kill_cache(self, lasts: float) -> None:
        """As a crash would; nothing of it is left."""
        self.cache.stop()
        await asyncio.sleep(lasts)
        self.cache.start()

    async def pause_cache(self, lasts: float) -> None:
        """Connections stay open and nobody answers on them."""
        os.kill(self.cache.pid, signal.SIGSTOP)
        await asyncio.sleep(lasts)
        os.kill(self.cache.pid, signal.SIGCONT)

    async def garble_cache(self, lasts: float) -> None:
        """Something else listens in its place and answers every command with rubbish."""
        self.cache.stop()
        rng = random.Random(0)

        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while await reader.read(4096):
                    kinds = (b"$5\r\nhello\r\n", b":7\r\n", b"*-1\r\n", b"-ERR no\r\n", b"+OK\r\n")
                    writer.write(rng.choice((rng.randbytes(40), *kinds)))
            writer.close()

        server = await asyncio.start_unix_server(babble, str(self.cache.socket))
        await asyncio.sleep(lasts)
        server.close()
        self.cache.socket.unlink(missing_ok=True)
        self.cache.start()

    async def kill_ratings(self, lasts: float) -> None:
        """As a crash would; its file is what it has when it comes back."""
        self.ratings.stop()
        await asyncio.sleep(lasts)
        self.ratings.start(*DURABLE)

    async def swap(self, digest: str, lasts: float) -> None:
        """Activate another model; noted before it can answer."""
        self.book.activated.append(digest)
        await asyncio.to_thread(activate, self.bundles[digest], self.pointer)
        await asyncio.sleep(lasts)
