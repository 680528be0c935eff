"""What every peer shares: the bundle, one float32 session, a batch of queries answered by it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import redis

from models.bundle import Bundle, open_bundle
from models.histories import Histories

OUTPUTS = ("items", "scores", "ratings", "spreads")
TTL_S = 3600


def redis_url() -> str:
    """The Redis the benchmark started."""
    return os.environ["BENCH_REDIS"]


@dataclass(frozen=True)
class Query:
    """One question: the best k items for a user, but for what was rated and one item more."""

    user_id: str
    k: int
    exclude: str

    @property
    def key(self) -> str:
        """Where the cache has its answer."""
        return f"{self.user_id}:{self.k}:{self.exclude}"


class Job:
    """One bundle, answered by onnxruntime in float32."""

    def __init__(self, bundle: Bundle | None = None) -> None:
        self.bundle = bundle or open_bundle(Path(os.environ["BENCH_BUNDLE"]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # it has one core
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            self.bundle.recommend_graph, options, providers=["CPUExecutionProvider"]
        )
        self._everything = np.ones(len(self.bundle.catalog), np.bool_)
        self._rows = {user.decode(): row for row, user in enumerate(self.bundle.users.ids)}

    def documents(self, queries: Sequence[Query]) -> list[dict[str, Any]]:
        """The answer to each query, all computed in one run."""
        users, catalog = self.bundle.users, self.bundle.catalog
        batch = Histories.concatenate(
            [users.histories.take([self._rows[query.user_id]]) for query in queries]
        )
        named = [catalog.index_by_id[query.exclude] for query in queries]
        excluded = [
            np.append(batch.items[a:b], item)
            for a, b, item in zip(batch.offsets[:-1], batch.offsets[1:], named, strict=True)
        ]
        feed = {
            "history_items": batch.items,
            "history_ratings": batch.ratings,
            "history_offsets": batch.offsets,
            "excluded_items": np.concatenate(excluded),
            "excluded_offsets": np.concatenate([[0], np.cumsum(list(map(len, excluded)))]),
            "allowed": self._everything,
            "k": np.array(max(query.k for query in queries), np.int64),
        }
        answers = zip(*self._session.run(OUTPUTS, feed), strict=True)
        return [
            self._document(query, *answer) for query, answer in zip(queries, answers, strict=True)
        ]

    def _document(
        self, query: Query, items: Any, scores: Any, ratings: Any, spreads: Any
    ) -> dict[str, Any]:
        catalog, reach = self.bundle.catalog, self.bundle.manifest.calibration.multiplier
        scale = self.bundle.manifest.rating_scale
        low = (ratings - reach * spreads).clip(scale.minimum)
        high = (ratings + reach * spreads).clip(None, scale.maximum)
        return {
            "user_id": query.user_id,
            "items": [
                {
                    "item_id": catalog.ids[item],
                    "title": catalog.titles[item],
                    "preference_score": round(float(scores[place]), 4),
                    "predicted_rating": round(float(ratings[place]), 3),
                    "interval": [round(float(low[place]), 3), round(float(high[place]), 3)],
                }
                for place, item in enumerate(items[: query.k])
            ],
        }


def answered(job: Job, cache: redis.Redis, queries: Sequence[Query]) -> list[bytes]:
    """A batch of answers: from the cache, the rest from one run of the model, which are stored."""
    found: list[Any] = cache.mget([query.key for query in queries])
    missing = [query for query, cached in zip(queries, found, strict=True) if cached is None]
    answers: dict[Query, bytes] = {}
    if missing:
        answers = dict(zip(missing, map(encoded, job.documents(missing)), strict=True))
        pipeline = cache.pipeline(transaction=False)
        for query, answer in answers.items():
            pipeline.set(query.key, answer, ex=TTL_S)
        pipeline.execute()
    return [
        answers[query] if cached is None else bytes(cached)
        for query, cached in zip(queries, found, strict=True)
    ]


def encoded(document: dict[str, Any]) -> bytes:
    """As it is cached and sent."""
    return json.dumps(document, separators=(",", ":")).encode()
