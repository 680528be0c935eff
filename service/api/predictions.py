"""Predictions: the rating a user would give to named items."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from service.api.responses import CACHE_HEADER, answer_response
from service.schemas import PredictionRequest, Predictions
from service.serving import Serving


def add_routes(api: FastAPI, serving: Serving) -> None:
    """Add the route that predicts ratings."""

    @api.post(
        "/v1/predictions",
        response_model=Predictions,
        responses={200: {"headers": CACHE_HEADER}},
        summary="Predicted ratings of named items",
    )
    async def predict(request: Request, body: PredictionRequest) -> Response:
        answer = await serving.current().predict(body.user_id, body.ratings, body.item_ids)
        return answer_response(request, answer)
