"""Users: whom the model's histories know."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from service.api.responses import json_response
from service.serving import Serving
from service.user_schemas import UserPage, UserQuery


def add_routes(api: FastAPI, serving: Serving) -> None:
    """Add the route that lists users."""

    @api.get(
        "/v1/users",
        response_model=UserPage,
        summary="Users of the model's histories, by a part of their id",
        description="Anybody may be asked for, listed or not: a user who is only known from "
        "ratings given since the model was trained is not listed, and one whose ratings were all "
        "taken back since still is.",
    )
    async def users(request: Request, asked: Annotated[UserQuery, Query()]) -> Response:
        return json_response(serving.current().users.page(asked))
