"""Responses: finished bytes with their headers, and what FastAPI describes them by."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.edge.gateway import CACHE_STATE
from service.errors import PROBLEM_JSON
from service.recommender import Answer
from service.schemas import ProblemDocument

CACHE_HEADER = {
    "X-Cache": {
        "description": "hit: from the cache; miss: computed; off: no cache was asked.",
        "schema": {"type": "string", "enum": ["hit", "miss", "off"]},
    }
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem document.",
        "content": {
            PROBLEM_JSON: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}
        },
    }
}


def answer_response(request: Request, answer: Answer) -> Response:
    """An answer as 200, with its cache state, and its tag if it has one."""
    request.scope[CACHE_STATE] = answer.cache
    headers = {"X-Cache": answer.cache.value}
    if answer.key is not None:
        headers |= {"ETag": answer.key.etag, "Cache-Control": "private, no-cache"}
    return Response(answer.body, headers=headers, media_type="application/json")


def json_response(body: bytes) -> Response:
    """A finished body as 200, with no word of the cache it never was in."""
    return Response(body, media_type="application/json")


def unchanged_response(etag: str) -> Response:
    """304: the caller has the answer already."""
    return Response(status_code=304, headers={"ETag": etag, "Cache-Control": "private, no-cache"})
