"""The floor: a bare Starlette route that gets one key from Redis and sends what it holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.benchmarks.serving.peers.job import Query, redis_url


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Connect."""
    app.state.cache = redis.from_url(redis_url())
    yield
    await app.state.cache.aclose()


async def recommendations(request: Request) -> Response:
    """What the cache holds, 404 if nothing."""
    asked = request.query_params
    query = Query(request.path_params["user_id"], int(asked["k"]), asked["exclude"])
    cached = await request.app.state.cache.get(query.key)
    if cached is None:
        return Response(status_code=404)
    return Response(cached, media_type="application/json")


app = Starlette(
    routes=[Route("/v1/users/{user_id}/recommendations", recommendations)], lifespan=lifespan
)
