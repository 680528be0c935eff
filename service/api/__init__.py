"""The routes of /v1 as a FastAPI application, and the document that describes them.

FastAPI routes and documents; `parsing` reads the requests and the gateway around it all keeps the
bounds. Every route gets the recommender from `Serving`, once, and hands it what was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import explanations, items, model, predictions, ratings, recommendations, users
from service.api.parsing import ParsedRoute
from service.api.responses import PROBLEMS
from service.errors import (
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    Problem,
)
from service.schemas import ProblemDocument
from service.serving import Serving

DESCRIPTION = """Recommendations and predicted ratings from a model that reads a user's history.

A user is a history of ratings. A user nobody knows, and an empty history, get a cold-start answer
(`"basis": "cold_start"`), not an error. Errors are RFC 9457 problem documents. Numbers are rounded
to 3 decimals.

Every response names its request in `X-Request-ID`: the one that came along, if it is 1 to 128
characters from `A-Za-z0-9._-`, or a new one; a problem document names it as `instance`. HEAD is
answered as GET, without the body."""


SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key as the token."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
KEY_REQUIRED: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]
KEY_OPTIONAL = [{}, *KEY_REQUIRED]


HOTTEST = "/v1/users/{user_id}/recommendations"
HOT_BEGINNING, HOT_END = HOTTEST.split("{user_id}")


class Api(FastAPI):
    """FastAPI, which describes problem documents and keys besides what its routes take and give."""

    def __init__(self, serving: Serving, **options: Any) -> None:
        super().__init__(**options)
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route a request at once; what the router says no with becomes a Problem.

        FastAPI's own layers look for telemetry, bound bodies, time requests, turn exceptions into
        responses and close what dependencies leave open: the gateway does all but the last, and
        `ParsedRoute` knows no dependencies.
        """
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self  # without it the router answers itself
        try:
            await self._routed(scope)(scope, receive, send)
        except HTTPException as refusal:
            raise _problem_of(refusal, scope) from None

    def _routed(self, scope: Scope) -> ASGIApp:
        """Whose a request is: the hottest route's, seen without trying patterns, or the router's.

        The scope is then as the router would leave it to the route.
        """
        path = scope["path"]
        if scope["method"] == "GET" and path.endswith(HOT_END) and path.startswith(HOT_BEGINNING):
            user_id = path[len(HOT_BEGINNING) : -len(HOT_END)]
            if user_id and "/" not in user_id and not scope.get("root_path"):
                scope["route"] = self._hottest
                scope["path_params"] = {"user_id": user_id}
                return self._hottest.app
        return self.router

    @cached_property
    def _hottest(self) -> APIRoute:
        routes = (route for route in self.routes if isinstance(route, APIRoute))
        return next(
            route for route in routes if route.path == HOTTEST and "GET" in (route.methods or ())
        )

    def openapi(self) -> dict[str, Any]:
        """The document of /v1/openapi.json; made once, when it is known whether there are keys."""
        made = self.openapi_schema is not None
        document = super().openapi()
        if not made:
            _, problems = models_json_schema(
                [(ProblemDocument, "serialization")], ref_template="#/components/schemas/{model}"
            )
            document["components"]["schemas"] |= problems["$defs"]
            document["components"]["securitySchemes"] = SECURITY_SCHEMES
            settings = self._serving.settings
            keyed = settings is not None and bool(settings.api_keys)
            document["security"] = KEY_REQUIRED if keyed else KEY_OPTIONAL
        return document


def create_api(serving: Serving) -> FastAPI:
    """The application; it may be made long before `serving` has a recommender."""
    api = Api(
        serving,
        title="Usher",
        version="1",
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        responses=PROBLEMS,
    )
    api.router.route_class = ParsedRoute
    for routes in (recommendations, explanations, predictions, ratings, users, items, model):
        routes.add_routes(api, serving)
    return api


def _problem_of(refusal: HTTPException, scope: Scope) -> Problem:
    """What the router itself says no with."""
    path = scope["path"][:200]
    if refusal.status_code == 404:
        return NotFound(f"There is nothing at {path}.")
    if refusal.status_code == 405:
        detail = f"{path} does not take {scope['method']}."
        return MethodNotAllowed(detail, _with_head(refusal.headers or {}))
    return MalformedRequest(str(refusal.detail))


def _with_head(headers: Mapping[str, str]) -> dict[str, str]:
    """`Allow` as the gateway has it: it answers HEAD wherever there is a GET."""
    methods = headers.get("Allow", "").split(", ")
    if "GET" in methods and "HEAD" not in methods:
        methods.append("HEAD")
    return {**headers, "Allow": ", ".join(methods)}
