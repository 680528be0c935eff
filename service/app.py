"""The BentoML service: how a worker starts, what is mounted where, and how it is tuned.

Importing this needs no model, no Redis and no torch. The model is verified once before any worker
starts and again in each of them; what is wrong with it is told in one sentence and nothing is
served.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import bentoml
from pydantic import ConfigDict

from models.bundle import Bundle, BundleError
from service.api import create_api
from service.api.parsing import check_id, check_values
from service.api.typed import check_recommend
from service.bundles import find_bundle
from service.edge.gateway import Gateway, Unprefixed
from service.edge.keys import KeyRing
from service.edge.listening import check_guarded
from service.edge.problems import ProblemResponse
from service.edge.traces import check_installed
from service.engine import check_graphs
from service.errors import Problem, ServiceError
from service.exposition import create_exposition
from service.metrics import Metrics
from service.recommender import Recommender
from service.schemas import Recommendations, Selection
from service.serving import Serving, open_access_log, open_recommender, open_traces
from service.settings import Settings, read_settings
from service.swap import ModelSwap
from service.tuning import (
    TUNED,
    TunedService,
    name_own_counts_folder,
    settle_garbage_collector,
    sweep_counts_folders,
)

serving = Serving()
"""What this worker process serves; filled when it starts."""


FLUSH_S = 2.0
"""How long the end waits for somebody to take the last lines, and again for the last spans."""


class Answer(Recommendations):
    """Recommendations without examples, which BentoML's OpenAPI 3.0 schemas do not know."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("examples", None))


api = create_api(serving)


@bentoml.asgi_app(Unprefixed(api), path="/v1")
@bentoml.asgi_app(create_exposition(), path="/")
@bentoml.service(name="usher", service_class=TunedService, **TUNED)
class Usher:
    """Top-k recommendations and predicted ratings. /v1/openapi.json describes the REST API."""

    @bentoml.on_deployment
    @staticmethod
    def verify() -> None:
        """Before any worker starts: refuse to serve a model or settings that cannot be used."""
        try:
            settings = read_settings()
            check_guarded(settings)
            check_installed(settings)
            check_graphs(_find_bundle(settings).manifest)
        except (BundleError, ServiceError) as error:
            sys.exit(f"Usher does not start. {error}")
        sweep_counts_folders()

    @bentoml.on_startup
    async def open(self) -> None:
        """In each worker: load the model, run it once, and settle the garbage collector."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="graphs")
        self._watch: asyncio.Task[None] | None = None
        try:
            settings = read_settings()
            check_guarded(settings)
            metrics = Metrics()
            traces = open_traces(settings)

            def load() -> Recommender:
                bundle = _find_bundle(settings)
                return open_recommender(bundle, settings, self._executor, metrics, traces)

            pointer = settings.model_pointer
            swap = ModelSwap(pointer, load, serving, metrics) if pointer else None
            recommender = load()
        except (BundleError, ServiceError) as error:
            print(f"Usher does not start. {error}", file=sys.stderr, flush=True)
            os._exit(3)  # raised, it would be a page of traceback
        serving.settings, serving.metrics, serving.recommender = settings, metrics, recommender
        serving.keys = KeyRing((key.get_secret_value() for key in settings.api_keys), metrics)
        serving.access_log = open_access_log(settings, metrics)
        serving.traces = traces
        settle_garbage_collector()
        if swap is not None:
            self._watch = asyncio.create_task(swap.watch())

    @bentoml.on_shutdown
    async def close(self) -> None:
        """Requests have ended: let go of both Redis and the thread, send lines and spans."""
        if self._watch is not None:
            self._watch.cancel()
        recommender, serving.recommender = serving.recommender, None
        if recommender is not None:
            await recommender.close()
        self._executor.shutdown(wait=False)
        if serving.access_log is not None:
            serving.access_log.close(FLUSH_S)
        if serving.traces is not None:
            serving.traces.close(FLUSH_S)

    async def __is_ready__(self) -> bool:
        """Ready once a model is loaded and runs on a provider that was allowed."""
        return serving.ready

    @bentoml.api(route="/recommend")
    async def recommend(
        self,
        user_id: str,
        k: int = 10,
        exclude: list[str] | None = None,
        genre: list[str] | None = None,
        year_min: int | None = None,
        year_max: int | None = None,
        include_seen: bool = False,
    ) -> Answer:
        """A user's top k, for other BentoML services: the same answer as the REST route's."""
        choices = {
            "k": k,
            "exclude": exclude or (),
            "genre": genre or (),
            "year_min": year_min,
            "year_max": year_max,
            "include_seen": include_seen,
        }
        try:
            check_id(user_id)
            selection = check_values(Selection, choices, "body")
            recommender = serving.current()
            key = await recommender.key_of(user_id, selection)
            answer = await recommender.for_user(user_id, selection, key)
        except Problem as problem:
            # BentoML passes a response on as it is; an error it would log as a page of traceback
            return cast(Answer, ProblemResponse(problem))
        return Answer.model_validate_json(answer.body)


def _find_bundle(settings: Settings) -> Bundle:
    bento = _service.bento
    packed = [str(model.tag) for model in bento.info.all_models] if bento is not None else []
    return find_bundle(settings.model, packed[0] if packed else None, settings.model_pointer)


_service: Any = Usher  # what the decorators have made of the class
_service.gateway = partial(
    Gateway, serving=serving, api=api, checks={"/recommend": check_recommend}
)
name_own_counts_folder()
