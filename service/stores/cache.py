"""The cache: finished answers in a Redis that may vanish at any moment.

A key is made of everything an answer depends on, so nothing is ever flushed. A stored value
begins with its key's digest and a checksum of the answer, and counts only if both fit: a mix-up
on a connection, or rubbish, is a miss. So is every other trouble with Redis; no caller ever sees
an error of the cache, or waits for it longer than its timeout.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import zlib
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from service.histories import Stamp
from service.metrics import Metrics
from service.stores.guarded import ExchangeFailed, GuardedPipeline, Resting

ANSWER_FORMAT = "1"  # part of every key: raise it when the bytes of an answer change
PREFIX = b"usher:answer:"
HEAD = hashlib.sha256().digest_size + 4


class CacheState(StrEnum):
    """What `X-Cache` says."""

    HIT = "hit"
    MISS = "miss"
    OFF = "off"


class Key(NamedTuple):
    """Names one answer. `digest` is the SHA-256 of everything the answer depends on."""

    digest: bytes

    @property
    def name(self) -> bytes:
        """The entry's name in Redis: half the digest is enough to find it, the rest is checked."""
        return PREFIX + self.digest[:16].hex().encode()

    @property
    def etag(self) -> str:
        """A weak tag: answers of one key are equal within rounding, not byte for byte."""
        return f'W/"{self.digest[:16].hex()}"'


Compute = Callable[[], Coroutine[Any, Any, tuple[Key, bytes]]]


class Found(NamedTuple):
    """An answer, the key it belongs to, and where it came from."""

    key: Key
    answer: bytes
    state: CacheState


def answer_key(bundle_digest: str, stamp: Stamp, canonical: str) -> Key:
    """The key of the answer to `canonical` parameters for the history under `stamp`.

    All empty histories have one key per parameters. No part but the last can hold the separator.
    """
    parts = (ANSWER_FORMAT, bundle_digest, stamp.owner or "", stamp.version, canonical)
    return Key(hashlib.sha256("|".join(parts).encode()).digest())


class AnswerCache:
    """Looks answers up, computes those it lacks once per process, and keeps them."""

    def __init__(
        self,
        redis: GuardedPipeline | None,
        metrics: Metrics,
        ttl_s: int,
        jitter: random.Random,
    ) -> None:
        self._redis = redis
        self._metrics = metrics
        self._ttl_s = ttl_s
        self._jitter = jitter
        self._flights: dict[Key, asyncio.Task[tuple[Key, bytes]]] = {}

    async def get(self, key: Key, compute: Compute) -> Found:
        """The answer of a key, from the cache or from `compute`.

        `compute` says which key its answer is for: the history may have moved on since `key` was
        made, and an answer must never be kept under a version it was not made from. Callers who
        ask for a key that is being computed wait for that one computation; it goes on when any of
        them is cancelled. Raises what `compute` raises, nothing of its own.
        """
        if self._redis is None:
            return Found(*await self._fly(key, compute), CacheState.OFF)
        kept = await self._read(self._redis, key)
        if kept is not None:
            return Found(key, kept, CacheState.HIT)
        return Found(*await self._fly(key, compute), CacheState.MISS)

    async def keep(self, answers: Sequence[tuple[Key, bytes]]) -> list[str]:
        """Keep answers before anybody asks for them, in one exchange.

        How each ended: "stored", "failed", or "rested" where Redis is left alone for a while.
        """
        if self._redis is None:
            return ["rested"] * len(answers)
        return await asyncio.gather(*(self._store(self._redis, *answer) for answer in answers))

    async def held(self, keys: Sequence[Key]) -> int | None:
        """How many of the keys have an entry; None if Redis does not say."""
        if self._redis is None:
            return None
        try:
            replies = await asyncio.gather(*(self._redis.ask("EXISTS", key.name) for key in keys))
        except (Resting, ExchangeFailed, ResponseError):
            return None
        return replies.count(1)

    async def close(self) -> None:
        """Close the connections; computations under way are left to their callers."""
        if self._redis is not None:
            await self._redis.close()

    async def _fly(self, key: Key, compute: Compute) -> tuple[Key, bytes]:
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._compute_and_keep(compute))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight)

    def _land(self, key: Key, flight: asyncio.Task[tuple[Key, bytes]]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # seen, even if every caller has gone

    async def _compute_and_keep(self, compute: Compute) -> tuple[Key, bytes]:
        key, answer = await compute()
        if self._redis is not None:
            await self._write(self._redis, key, answer)
        return key, answer

    async def _read(self, redis: GuardedPipeline, key: Key) -> bytes | None:
        try:
            value = await redis.ask("GET", key.name)
        except Resting:
            self._metrics.cache_reads.labels("rested").inc()
            return None
        except ExchangeFailed:
            self._metrics.cache_reads.labels("failed").inc()
            return None
        except ResponseError:  # what cannot be read is no cache
            redis.distrust()
            self._metrics.cache_reads.labels("failed").inc()
            return None
        answer = _opened(key, value)
        if answer is None and value is not None:
            redis.distrust()
            self._metrics.cache_reads.labels("foreign").inc()
            return None
        redis.trust()
        self._metrics.cache_reads.labels("miss" if answer is None else "hit").inc()
        return answer

    async def _write(self, redis: GuardedPipeline, key: Key, answer: bytes) -> None:
        self._metrics.cache_writes.labels(await self._store(redis, key, answer)).inc()

    async def _store(self, redis: GuardedPipeline, key: Key, answer: bytes) -> str:
        """Keep an answer; how that ended."""
        ttl_s = max(1, round(self._ttl_s * (1 - 0.1 * self._jitter.random())))
        try:
            reply = await redis.ask("SET", key.name, _sealed(key, answer), "EX", ttl_s)
        except Resting:
            return "rested"
        except ExchangeFailed:
            return "failed"
        except ResponseError:  # it may be full: reads go on
            redis.trust()
            return "failed"
        if reply != b"OK":
            redis.distrust()
            return "failed"
        redis.trust()
        return "stored"


def _sealed(key: Key, answer: bytes) -> bytes:
    return key.digest + zlib.crc32(answer).to_bytes(4, "big") + answer


def _opened(key: Key, value: object) -> bytes | None:
    """The answer in a stored value, if the value is that key's and whole."""
    if not isinstance(value, bytes) or value[: len(key.digest)] != key.digest:
        return None
    answer = value[HEAD:]
    checksum = int.from_bytes(value[len(key.digest) : HEAD], "big")
    return answer if len(value) > HEAD and zlib.crc32(answer) == checksum else None
