"""Responses: finished bytes with their headers, and what FastAPI describes them by."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.edge.gateway import CACHE_STATE, JSON
from service.errors import PROBLEM_JSON
from service.recommender import Answer
from service.schemas import ProblemDocument
from service.stores.cache import CacheState

_STATES = {state: (b"x-cache", state.value.encode()) for state in CacheState}
_OWN = (b"cache-control", b"private, no-cache")
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


class Finished(Response):
    """200 with bytes that are JSON already; headers as they are sent, not looked at again."""

    def __init__(self, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), JSON, *headers]


def answer_response(request: Request, answer: Answer) -> Response:
    """An answer as 200, with its cache state, and its tag if it has one."""
    request.scope[CACHE_STATE] = answer.cache
    state = _STATES[answer.cache]
    if answer.key is None:
        return Finished(answer.body, state)
    return Finished(answer.body, state, (b"etag", answer.key.etag.encode()), _OWN)


def json_response(body: bytes) -> Response:
    """A finished body as 200, with no word of the cache it never was in."""
    return Finished(body)


def unchanged_response(etag: str) -> Response:
    """304: the caller has the answer already."""
    return Response(status_code=304, headers={"ETag": etag, "Cache-Control": "private, no-cache"})
