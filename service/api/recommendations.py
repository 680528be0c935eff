"""Recommendations: a stored user's top k, and the same for given ratings or for many users."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from service.api.responses import CACHE_HEADER, answer_response, unchanged_response
from service.schemas import (
    Id,
    ManyRecommendations,
    RecommendationRequest,
    Recommendations,
    Selection,
)
from service.serving import Serving

UserId = Annotated[Id, Path(description="Any id; nobody need know it.", examples=["1"])]
CACHED: dict[int | str, dict[str, Any]] = {
    200: {"headers": CACHE_HEADER},
    304: {"description": "The answer is the one named in If-None-Match."},
}


def add_routes(api: FastAPI, serving: Serving) -> None:
    """Add the routes that recommend."""

    @api.get(
        "/v1/users/{user_id}/recommendations",
        response_model=Recommendations,
        responses=CACHED,
        summary="A user's top k",
    )
    async def recommend(
        request: Request, user_id: UserId, selection: Annotated[Selection, Query()]
    ) -> Response:
        recommender = serving.current()
        key = await recommender.key_of(user_id, selection)
        if key.etag in request.headers.get("if-none-match", ""):
            return unchanged_response(key.etag)
        return answer_response(request, await recommender.for_user(user_id, selection, key))

    @api.post(
        "/v1/recommendations",
        response_model=Recommendations | ManyRecommendations,
        responses={200: {"headers": CACHE_HEADER}},
        summary="The top k for given ratings, or for many users",
    )
    async def recommend_given(request: Request, body: RecommendationRequest) -> Response:
        recommender = serving.current()
        if body.user_ids is not None:
            answer = await recommender.for_users(body.user_ids, body)
        else:
            answer = await recommender.for_ratings(body.ratings or (), body)
        return answer_response(request, answer)
