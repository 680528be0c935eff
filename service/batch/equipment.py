"""What a batch works with: the very parts of a worker of the service, put together without HTTP."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from models.bundle import Bundle
from service.answers import AnswerWriter
from service.batch.computation import Computation
from service.batch.order import Order
from service.batch.warming import Warming
from service.bundles import find_bundle
from service.engine import Engine
from service.errors import ModelNotServable
from service.metrics import Metrics
from service.serving import histories_of, limits_of, open_cache, open_store
from service.settings import Settings
from service.stores.cache import AnswerCache
from service.stores.ratings import RatingsStore

CACHE_TIMEOUT_MS = 1000  # at least: nobody waits here, and a busy machine is no broken cache


@dataclass(frozen=True)
class Equipment:
    """store: None without a ratings Redis. warming: None where no cache is to be warmed."""

    bundle: Bundle
    answers: AnswerWriter
    store: RatingsStore | None
    cache: AnswerCache
    warming: Warming | None
    computation: Computation

    async def close(self) -> None:
        """Let go of both Redis."""
        await self.cache.close()
        if self.store is not None:
            await self.store.close()
        await asyncio.sleep(0)  # sockets close in the next turn of a loop that may be at its end


def open_equipment(order: Order, settings: Settings, executor: Executor) -> Equipment:
    """Find and verify the model, load its graphs; nothing is connected yet.

    Raises BundleError, ModelNotServable.
    """
    metrics = Metrics(CollectorRegistry())
    bundle = find_bundle(settings.model, None, settings.model_pointer)
    engine = _engine(bundle, settings)
    store, answers = open_store(settings, metrics, None), AnswerWriter(bundle)
    cache = _patient_cache(settings, metrics)
    warming = Warming(cache, answers, bundle, order.selection) if order.warm else None
    computation = Computation(
        bundle,
        engine,
        histories_of(bundle, store),
        order.selection,
        limits_of(settings),
        executor,
        order.threads,
        warming,
    )
    return Equipment(bundle, answers, store, cache, warming, computation)


def _engine(bundle: Bundle, settings: Settings) -> Engine:
    engine = Engine(bundle, settings.providers, settings.engine_cache)
    if not engine.as_allowed:
        raise ModelNotServable(
            f"The graphs run on {', '.join(engine.providers)}, which USHER_PROVIDERS does not "
            "allow."
        )
    return engine


def _patient_cache(settings: Settings, metrics: Metrics) -> AnswerCache:
    patience = max(settings.cache_timeout_ms, CACHE_TIMEOUT_MS)
    return open_cache(settings.model_copy(update={"cache_timeout_ms": patience}), metrics, None)
