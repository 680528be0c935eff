"""What a worker serves: from settings to a recommender that is loaded, verified and warm.

A worker's ASGI application exists before its model does, and a later model will replace an
earlier one while requests run; `Serving` is the one place that knows which recommender is meant
now. A request takes it once and keeps it to its end.
"""

from __future__ import annotations

import random
import sys
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.bundle import Bundle
from models.histories import Histories
from service.batcher import BatchLimits, MicroBatcher
from service.edge.access_log import AccessLog
from service.edge.keys import KeyRing
from service.engine import Engine, Estimates, Ranking, RankJob, RateJob
from service.errors import NotReady
from service.filters import Filters
from service.histories import BundleHistories, KnownHistories, StoredHistories
from service.metrics import Metrics
from service.recommender import Recommender
from service.schemas import Selection
from service.settings import Settings
from service.stores.cache import AnswerCache
from service.stores.circuit import Circuit
from service.stores.guarded import GuardedPipeline
from service.stores.ratings import RatingsStore, RepeatingPipeline
from service.stores.redis_link import RedisLink
from service.user_ratings import UserRatings

if TYPE_CHECKING:
    from service.edge.traces import Traces


@dataclass
class Serving:
    """The recommender in use, if there is one yet, and what the gateway goes by."""

    settings: Settings | None = None
    metrics: Metrics | None = None
    keys: KeyRing | None = None
    access_log: AccessLog | None = None
    traces: Traces | None = None
    recommender: Recommender | None = None

    def current(self) -> Recommender:
        """The recommender in use. Raises NotReady before there is one."""
        if self.recommender is None:
            raise NotReady("No model is loaded yet; try again shortly.")
        return self.recommender

    def key_ring(self) -> KeyRing:
        """The keys. Raises NotReady before they are known: until then nothing is open."""
        if self.keys is None:
            raise NotReady("The service has not started yet; try again shortly.")
        return self.keys

    @property
    def ready(self) -> bool:
        """Whether there is a recommender, and it runs on a provider the settings allow."""
        return self.recommender is not None and self.recommender.engine.as_allowed


def open_recommender(
    bundle: Bundle,
    settings: Settings,
    executor: Executor,
    metrics: Metrics,
    traces: Traces | None = None,
) -> Recommender:
    """Load the graphs, run each once, and put the parts together; both graphs run on `executor`.

    Raises ModelNotServable if the graphs cannot be called.
    """
    engine = Engine(bundle, settings.providers, settings.engine_cache)
    warm(engine, bundle)
    provider = ",".join(engine.providers)
    metrics.model.labels(bundle.manifest.version, bundle.digest, provider).set(1)
    store, limits = open_store(settings, metrics, traces), limits_of(settings)
    ranking = (engine.rank, RankJob.weigh, executor, limits, metrics.of_graph("recommend"))
    rating = (engine.rate, RateJob.weigh, executor, limits, metrics.of_graph("rate"))
    ranker: MicroBatcher[RankJob, Ranking]
    rater: MicroBatcher[RateJob, Estimates]
    if traces is None:
        ranker, rater = MicroBatcher(*ranking), MicroBatcher(*rating)
    else:
        ranker = traces.batcher("recommend", *ranking)
        rater = traces.batcher("rate", *rating)
    cache = open_cache(settings, metrics, traces)
    ratings, stored = UserRatings(bundle, store, time.time), histories_of(bundle, store)
    return Recommender(bundle, engine, ranker, rater, stored, cache, ratings, metrics)


def histories_of(bundle: Bundle, store: RatingsStore | None) -> KnownHistories:
    """The bundle's histories, with what was given since where that is kept."""
    bundled, scale = BundleHistories(bundle.users), bundle.manifest.rating_scale
    return bundled if store is None else StoredHistories(bundled, store, bundle.catalog, scale)


def limits_of(settings: Settings) -> BatchLimits:
    """How much may run together, and wait."""
    return BatchLimits(
        settings.batch_histories,
        settings.batch_ratings,
        settings.queue_histories,
        settings.queue_ratings,
    )


def open_traces(settings: Settings) -> Traces | None:
    """Traces, if they are asked for; only then is OpenTelemetry's SDK loaded."""
    if settings.traces is None:
        return None
    from service.edge.traces import Traces

    return Traces(settings.traces, settings.traces_share)


def open_access_log(settings: Settings, metrics: Metrics) -> AccessLog:
    """The access log on the standard output, writing."""
    return AccessLog(
        sys.stdout.fileno(),
        metrics,
        settings.access_log_share,
        settings.access_log_slow_ms / 1000,
        settings.access_log_lines,
        random.Random(),
    )


def open_cache(settings: Settings, metrics: Metrics, traces: Traces | None) -> AnswerCache:
    """The cache the settings name; nothing is connected yet."""
    redis = None
    if settings.cache_url is not None:
        link = RedisLink(
            settings.cache_url, settings.cache_timeout_ms / 1000, settings.cache_connections
        )
        circuit = Circuit(settings.cache_failures, settings.cache_rest_ms / 1000, time.monotonic)
        redis = traces.cache(link, circuit) if traces else GuardedPipeline(link, circuit)
    return AnswerCache(redis, metrics, settings.cache_ttl_s, random.Random())


def open_store(settings: Settings, metrics: Metrics, traces: Traces | None) -> RatingsStore | None:
    """The store of given ratings the settings name; nothing is connected yet."""
    if settings.ratings_url is None:
        return None
    connections = settings.ratings_connections
    link = RedisLink(settings.ratings_url, settings.ratings_timeout_ms / 1000, connections)
    redis = traces.ratings(link, connections) if traces else RepeatingPipeline(link, connections)
    return RatingsStore(redis, metrics)


def warm(engine: Engine, bundle: Bundle) -> None:
    """Run each graph once on an empty history, so that the first caller does not wait for it."""
    nobody = Histories.empty(1)
    everything = Filters(bundle.catalog).of(Selection())
    engine.rank([RankJob(nobody, np.zeros(0, np.int64), everything, 1)])
    engine.rate([RateJob(nobody, np.zeros(1, np.int64))])
