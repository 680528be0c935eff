"""The job in plain FastAPI on uvicorn: a typed route, a response model, redis.asyncio, a session.

The session runs in Starlette's thread pool, so the loop goes on meanwhile; a cached answer is sent
as the bytes it was stored as.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from fastapi import FastAPI, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from tests.benchmarks.serving.peers.job import TTL_S, Job, Query, redis_url


class Item(BaseModel):
    """One recommended item."""

    item_id: str
    title: str
    preference_score: float
    predicted_rating: float
    interval: tuple[float, float]


class Answer(BaseModel):
    """A user's best items."""

    user_id: str
    items: list[Item]


class State:
    """What the process holds once it has started."""

    job: Job
    cache: redis.Redis


state = State()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model and connect."""
    state.job, state.cache = Job(), redis.from_url(redis_url())
    yield
    await state.cache.aclose()


app = FastAPI(lifespan=lifespan)


@app.get("/v1/users/{user_id}/recommendations", response_model=Answer)
async def recommendations(user_id: str, k: int = 10, exclude: str = "") -> Answer | Response:
    """From the cache, else from the model."""
    query = Query(user_id, k, exclude)
    cached = await state.cache.get(query.key)
    if cached is not None:
        return Response(cached, media_type="application/json")
    (document,) = await run_in_threadpool(state.job.documents, [query])
    answer = Answer.model_validate(document)
    await state.cache.set(query.key, answer.model_dump_json(), ex=TTL_S)
    return answer
