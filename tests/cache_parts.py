"""A cache at any address, what it is asked for, and what it counted."""

from __future__ import annotations

import asyncio
import random
import time

from prometheus_client import CollectorRegistry

from service.histories import Stamp
from service.metrics import Metrics
from service.schemas import Selection
from service.stores.cache import AnswerCache, Key, answer_key
from service.stores.circuit import Circuit
from service.stores.guarded import GuardedPipeline
from service.stores.redis_link import RedisLink

KEY = answer_key("d" * 64, Stamp("1", "0"), Selection().canonical)
OTHER = answer_key("d" * 64, Stamp("2", "0"), Selection().canonical)
PATIENT_S = 10.0


class Cook:
    """Computes an answer for a key and counts how often; can be held back."""

    def __init__(self, key: Key = KEY, answer: bytes = b'{"basis":"history"}') -> None:
        self.key, self.answer, self.calls = key, answer, 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> tuple[Key, bytes]:
        self.calls += 1
        await self.go.wait()
        return self.key, self.answer


def cache_at(
    url: str | None, timeout_s: float = PATIENT_S, failures: int = 3, rest_s: float = 60.0
) -> tuple[AnswerCache, Metrics]:
    metrics = Metrics(CollectorRegistry())
    redis = None
    if url is not None:
        link = RedisLink(url, timeout_s, connections=8)
        redis = GuardedPipeline(link, Circuit(failures, rest_s, time.monotonic))
    return AnswerCache(redis, metrics, 1000, random.Random(0)), metrics


def reads(metrics: Metrics, outcome: str) -> float:
    counted: float = metrics.cache_reads.labels(outcome)._value.get()
    return counted
