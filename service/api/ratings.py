"""Ratings: what a user has rated, read, given and taken back."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from service.api.items import ItemId
from service.api.recommendations import UserId
from service.api.responses import json_response
from service.schemas import GivenRating, NewRating, NewRatings, UserRating, UserRatingList
from service.serving import Serving

ALL, ONE = "/v1/users/{user_id}/ratings", "/v1/users/{user_id}/ratings/{item_id}"


def add_routes(api: FastAPI, serving: Serving) -> None:
    """Add the routes of a user's ratings."""
    _add_routes_of_all(api, serving)
    _add_routes_of_one(api, serving)


def _add_routes_of_all(api: FastAPI, serving: Serving) -> None:
    @api.get(ALL, response_model=UserRatingList, summary="A user's ratings")
    async def ratings_of(request: Request, user_id: UserId) -> Response:
        return json_response(await serving.current().ratings.all_of(user_id))

    @api.put(ALL, response_model=UserRatingList, summary="Replace all of a user's ratings")
    async def replace(request: Request, user_id: UserId, body: NewRatings) -> Response:
        kept = await serving.current().ratings.replace(user_id, body.ratings)
        return json_response(kept)

    @api.delete(ALL, status_code=204, summary="Forget all of a user's ratings")
    async def forget(request: Request, user_id: UserId) -> Response:
        await serving.current().ratings.forget(user_id)
        return Response(status_code=204)


def _add_routes_of_one(api: FastAPI, serving: Serving) -> None:
    @api.get(ONE, response_model=UserRating, summary="A user's rating of an item")
    async def rating_of(request: Request, user_id: UserId, item_id: ItemId) -> Response:
        rating = await serving.current().ratings.one_of(user_id, item_id)
        return json_response(rating)

    @api.put(ONE, response_model=UserRating, summary="Rate an item; the next answer knows it")
    async def give(request: Request, user_id: UserId, item_id: ItemId, body: NewRating) -> Response:
        given = GivenRating(item_id=item_id, rating=body.rating, rated_at=body.rated_at)
        return json_response(await serving.current().ratings.give(user_id, given))

    @api.delete(ONE, status_code=204, summary="Take a rating back")
    async def take_back(request: Request, user_id: UserId, item_id: ItemId) -> Response:
        await serving.current().ratings.take_back(user_id, item_id)
        return Response(status_code=204)
