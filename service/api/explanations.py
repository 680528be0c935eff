"""Explanations: which of a user's own ratings moved an item most."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from service.api.items import ItemId
from service.api.recommendations import UserId
from service.api.responses import json_response
from service.explanation_schemas import Explanation, ExplanationRequest
from service.serving import Serving


def add_routes(api: FastAPI, serving: Serving) -> None:
    """Add the routes that explain."""

    @api.get(
        "/v1/users/{user_id}/recommendations/{item_id}/explanation",
        response_model=Explanation,
        summary="Which of a user's own ratings moved an item most",
    )
    async def explain(request: Request, user_id: UserId, item_id: ItemId) -> Response:
        return json_response(await serving.current().explainer.explain(user_id, item_id))

    @api.post(
        "/v1/explanations",
        response_model=Explanation,
        summary="Which of given ratings moved an item most",
    )
    async def explain_given(request: Request, body: ExplanationRequest) -> Response:
        explainer = serving.current().explainer
        return json_response(await explainer.explain_given(body.ratings, body.item_id))
