"""The routes of /v1 as a FastAPI application, and the document that describes them.

FastAPI routes and documents; `parsing` reads the requests and the gateway around it all keeps the
bounds. Every route gets the recommender from `Serving`, once, and hands it what was asked.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.api import explanations, items, model, predictions, recommendations
from service.api.parsing import ParsedRoute
from service.api.responses import PROBLEMS, problem_response
from service.errors import (
    InternalError,
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
to 3 decimals."""


class Api(FastAPI):
    """FastAPI, which describes problem documents besides what its routes take and give."""

    def openapi(self) -> dict[str, Any]:
        """The document of /v1/openapi.json; made once."""
        made = self.openapi_schema is not None
        document = super().openapi()
        if not made:
            _, problems = models_json_schema(
                [(ProblemDocument, "serialization")], ref_template="#/components/schemas/{model}"
            )
            document["components"]["schemas"] |= problems["$defs"]
        return document


def create_api(serving: Serving) -> FastAPI:
    """The application; it may be made long before `serving` has a recommender."""
    api = Api(
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
    for routes in (recommendations, explanations, predictions, items, model):
        routes.add_routes(api, serving)
    api.add_exception_handler(Problem, _problem)
    api.add_exception_handler(HTTPException, _http_problem)
    api.add_exception_handler(Exception, _mistake)
    return api


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _http_problem(request: Request, error: Exception) -> Response:
    """What the router itself says no with."""
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 404:
        return problem_response(NotFound(f"There is nothing at {path}."))
    if error.status_code == 405:
        detail = f"{path} does not take {request.method}."
        return problem_response(MethodNotAllowed(detail, error.headers or {}))
    return problem_response(MalformedRequest(str(error.detail)))


async def _mistake(request: Request, error: Exception) -> Response:
    return problem_response(InternalError("The service made a mistake; its log has more."))
