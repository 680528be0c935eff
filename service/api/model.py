"""The model: what it is, how good it is on ratings it never saw, what it runs on."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from models.catalog import Catalog
from service.model_schemas import ModelCard, Providers, Years
from service.recommender import Recommender
from service.serving import Serving


def add_routes(api: FastAPI, serving: Serving) -> None:
    """Add the route that describes the model."""

    @api.get("/v1/model", response_model=ModelCard, summary="The model that answers")
    async def model(request: Request) -> Response:
        card = model_card(serving.current())
        return Response(card.model_dump_json(), media_type="application/json")


def model_card(recommender: Recommender) -> ModelCard:
    """What a recommender answers with."""
    bundle = recommender.bundle
    manifest = bundle.manifest
    told = manifest.model_dump(include=set(ModelCard.model_fields) - {"users", "items"})
    providers = Providers(
        configured=list(recommender.engine.allowed), in_use=list(recommender.engine.providers)
    )
    return ModelCard.model_validate(
        told
        | {
            "digest": bundle.digest,
            "users": len(bundle.users),
            "items": len(bundle.catalog),
            "genres": list(bundle.catalog.genre_names),
            "years": years_of(bundle.catalog),
            "providers": providers,
        }
    )


def years_of(catalog: Catalog) -> Years | None:
    """The years that filters can choose from."""
    known = catalog.years[catalog.years > 0]
    return Years(first=int(known.min()), last=int(known.max())) if len(known) else None
