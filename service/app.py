"""The BentoML service: what starts it, what a worker opens and closes, and the typed method.

The process that supervises workers imports this too, and answers nothing: what answers is imported
by workers alone (`service.worker`). The model is verified once before any worker starts, and again
by a worker that finds another or a changed one; what is wrong with it is told in one sentence and
nothing is served.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import bentoml
from pydantic import ConfigDict

from models.bundle import Bundle, BundleError, verify_bundle
from service.bundles import find_bundle, folder_of
from service.edge.listening import check_guarded
from service.errors import ServiceError
from service.graph_calls import check_graphs
from service.schemas import Recommendations
from service.settings import Settings, read_settings
from service.tuning import (
    TUNED,
    TunedService,
    name_own_counts_folder,
    prefer_large_pages,
    sweep_counts_folders,
)

if TYPE_CHECKING:
    from service.worker import Worker


VERIFIED = "_USHER_VERIFIED"
"""The variable in which workers are told the fingerprint of the bundle that was verified."""


@cache
def worker() -> Worker:
    """What this process serves, if it is a worker."""
    from service.worker import Worker

    return Worker(_find_bundle)


class Answer(Recommendations):
    """Recommendations without examples, which BentoML's OpenAPI 3.0 schemas do not know."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("examples", None))


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
            bundle, fingerprint = verify_bundle(folder_of(*_meant(settings)))
            check_graphs(bundle.manifest)
        except (BundleError, ServiceError) as error:
            sys.exit(f"Usher does not start. {error}")
        os.environ[VERIFIED] = fingerprint
        sweep_counts_folders()

    @bentoml.on_startup
    async def open(self) -> None:
        """In each worker, before it listens."""
        await worker().open()

    @bentoml.on_shutdown
    async def close(self) -> None:
        """In each worker, once requests have ended."""
        await worker().close()

    async def __is_ready__(self) -> bool:
        """Whether /readyz says so."""
        return worker().ready

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
        return cast(Answer, await worker().recommend(user_id, choices))


def _find_bundle(settings: Settings) -> Bundle:
    """In a worker: what is meant now, read again if it is not what was verified."""
    return find_bundle(*_meant(settings), seen=os.environ.get(VERIFIED))


def _meant(settings: Settings) -> tuple[str | None, str | None, Path | None]:
    bento = _service.bento
    packed = [str(model.tag) for model in bento.info.all_models] if bento is not None else []
    return settings.model, packed[0] if packed else None, settings.model_pointer


_service: Any = Usher  # what the decorators have made of the class
_service.worker = worker
name_own_counts_folder()
prefer_large_pages()
