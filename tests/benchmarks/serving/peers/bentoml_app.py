"""The job in BentoML as its documentation shows it: a batchable method, default settings."""

from __future__ import annotations

import bentoml
import redis
from pydantic import BaseModel

from tests.benchmarks.serving.peers.job import Job, Query, answered, redis_url


class Asked(BaseModel):
    """One query, as JSON."""

    user_id: str
    k: int = 10
    exclude: str = ""


@bentoml.service
class Peer:
    """Batches by BentoML's own dispatcher."""

    def __init__(self) -> None:
        self.job, self.cache = Job(), redis.from_url(redis_url())

    @bentoml.api(batchable=True, max_batch_size=64)
    def recommend(self, queries: list[Asked]) -> list[str]:
        """Answers from the cache, the rest from one run of the model."""
        asked = [Query(query.user_id, query.k, query.exclude) for query in queries]
        return [answer.decode() for answer in answered(self.job, self.cache, asked)]
