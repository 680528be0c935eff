"""Swaps the model of a running worker: follow the pointer file, load beside, then change over.

A request keeps the recommender it began with, so none is cut off and none is answered by two
models; keys of cached answers name the bundle, so nothing need be flushed. What cannot be served is
told once, and the worker goes on with what it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from models.bundle import BundleError
from service.bundles import pointed_at
from service.errors import ServiceError
from service.metrics import Metrics
from service.recommender import Recommender
from service.serving import Serving

POLL_S = 1.0

log = logging.getLogger("usher")

Load = Callable[[], Recommender]
"""Finds, verifies and warms what is to be served now; blocks. Raises BundleError, ServiceError."""


class ModelSwap:
    """Watches one pointer for one worker."""

    def __init__(self, pointer: Path, load: Load, serving: Serving, metrics: Metrics) -> None:
        self._pointer = pointer
        self._load = load
        self._serving = serving
        self._metrics = metrics
        self._named = pointed_at(pointer)
        self._leaving: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Follow the pointer until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            await self.follow()

    async def follow(self) -> None:
        """Swap if the pointer names something else than when it was last looked at.

        What the pointer has left again while it was loading never answers.
        """
        while (named := pointed_at(self._pointer)) != self._named:
            self._named = named
            try:
                later = await asyncio.get_running_loop().run_in_executor(None, self._load)
            except (BundleError, ServiceError) as error:
                self._metrics.swaps.labels("refused").inc()
                log.error("The model stays as it is. %s", error)
                continue
            if pointed_at(self._pointer) == named:
                self._change_over(later)
            else:
                await later.close()

    def _change_over(self, later: Recommender) -> None:
        earlier = self._serving.recommender
        self._serving.recommender = later
        self._metrics.swaps.labels("done").inc()
        log.warning("Answers come from usher:%s now.", later.bundle.manifest.version)
        if earlier is None:
            return
        if earlier.bundle.digest != later.bundle.digest:
            retire_model_metric(self._metrics, earlier)
        leaving = asyncio.create_task(self._leave(earlier))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _leave(self, earlier: Recommender) -> None:
        """Let go of an earlier model's connections once no request can be on it."""
        settings = self._serving.settings
        await asyncio.sleep(settings.request_timeout_s if settings else 0)
        await earlier.close()


def retire_model_metric(metrics: Metrics, recommender: Recommender) -> None:
    """Say that a model is no longer answered with."""
    bundle, provider = recommender.bundle, ",".join(recommender.engine.providers)
    metrics.model.labels(bundle.manifest.version, bundle.digest, provider).set(0)
