"""A worker process: what answers in it, and how it starts and ends.

`service.app` imports this in workers alone, when BentoML asks for their application.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from starlette.types import ASGIApp

from models.bundle import Bundle, BundleError
from service.api import create_api
from service.api.parsing import check_id, check_values
from service.api.typed import check_recommend
from service.edge.gateway import Gateway, Unprefixed
from service.edge.keys import KeyRing
from service.edge.listening import check_guarded
from service.edge.problems import ProblemResponse
from service.errors import Problem, ServiceError
from service.exposition import create_exposition
from service.metrics import Metrics
from service.recommender import Recommender
from service.schemas import Recommendations, Selection
from service.serving import Serving, open_access_log, open_recommender, open_traces
from service.settings import Settings, read_settings
from service.swap import ModelSwap
from service.tuning import settle_garbage_collector

FLUSH_S = 2.0
"""How long the end waits for somebody to take the last lines, and again for the last spans."""


class Worker:
    """What this process serves. `find_bundle` finds and verifies the model that settings mean."""

    def __init__(self, find_bundle: Callable[[Settings], Bundle]) -> None:
        self._find_bundle = find_bundle
        self._serving = Serving()
        self._api = create_api(self._serving)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="graphs")
        self._watch: asyncio.Task[None] | None = None

    @property
    def mounts(self) -> list[tuple[ASGIApp, str]]:
        """What BentoML's application has beside its own routes, and below which path."""
        return [(Unprefixed(self._api), "/v1"), (create_exposition(), "/")]

    def behind_gateway(self, app: ASGIApp) -> ASGIApp:
        """BentoML's application with the gateway around it, as the outermost layer of all."""
        checks = {"/recommend": check_recommend}
        return Gateway(app, serving=self._serving, api=self._api, checks=checks)

    @property
    def ready(self) -> bool:
        """Whether a model is loaded and runs on a provider that was allowed."""
        return self._serving.ready

    async def open(self) -> None:
        """Load the model, run it once, and settle the garbage collector; or end the process."""
        try:
            settings = read_settings()
            check_guarded(settings)
            metrics = Metrics()
            traces = open_traces(settings)

            def load() -> Recommender:
                bundle = self._find_bundle(settings)
                return open_recommender(bundle, settings, self._executor, metrics, traces)

            pointer = settings.model_pointer
            swap = ModelSwap(pointer, load, self._serving, metrics) if pointer else None
            recommender = load()
        except (BundleError, ServiceError) as error:
            print(f"Usher does not start. {error}", file=sys.stderr, flush=True)
            os._exit(3)  # raised, it would be a page of traceback
        serving = self._serving
        serving.settings, serving.metrics, serving.recommender = settings, metrics, recommender
        serving.keys = KeyRing((key.get_secret_value() for key in settings.api_keys), metrics)
        serving.access_log = open_access_log(settings, metrics)
        serving.traces = traces
        settle_garbage_collector()
        if swap is not None:
            self._watch = asyncio.create_task(swap.watch())

    async def close(self) -> None:
        """Requests have ended: let go of both Redis and the thread, send lines and spans."""
        if self._watch is not None:
            self._watch.cancel()
        serving = self._serving
        recommender, serving.recommender = serving.recommender, None
        if recommender is not None:
            await recommender.close()
        self._executor.shutdown(wait=False)
        if serving.access_log is not None:
            serving.access_log.close(FLUSH_S)
        if serving.traces is not None:
            serving.traces.close(FLUSH_S)

    async def recommend(self, user_id: str, choices: Mapping[str, Any]) -> Recommendations:
        """What the typed method answers: the same as the REST route."""
        try:
            check_id(user_id)
            selection = check_values(Selection, choices, "body")
            recommender = self._serving.current()
            key = await recommender.key_of(user_id, selection)
            answer = await recommender.for_user(user_id, selection, key)
        except Problem as problem:
            # BentoML passes a response on as it is; an error it would log as a page of traceback
            return cast(Recommendations, ProblemResponse(problem))
        return Recommendations.model_validate_json(answer.body)
