"""What a model says, without cache or store: what every answer of a service is held against."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from models.bundle import Bundle
from service.metrics import Metrics
from service.recommender import Recommender
from service.schemas import GivenRating, Selection
from service.serving import open_recommender
from service.settings import Settings

TOLERANCE = 0.0011  # a rounded thousandth either way


class Oracle:
    """What one bundle answers for ratings in a request."""

    def __init__(self, bundle: Bundle, executor: ThreadPoolExecutor) -> None:
        self.bundle = bundle
        metrics = Metrics(CollectorRegistry())
        settings = Settings(cache_url=None, ratings_url=None)
        self._recommender: Recommender = open_recommender(bundle, settings, executor, metrics)

    def items(self, history: dict[str, float]) -> list[dict[str, Any]]:
        """The ten items for a history, by item id; blocks."""
        return asyncio.run(self.items_soon(history))

    async def items_soon(self, history: dict[str, float]) -> list[dict[str, Any]]:
        """The same, for a caller with a loop."""
        ratings = [GivenRating(item_id=item, rating=value) for item, value in history.items()]
        answer = await self._recommender.for_ratings(ratings, Selection())
        items: list[dict[str, Any]] = json.loads(answer.body)["items"]
        return items


def difference(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> str | None:
    """What tells an answer's items from the oracle's; None if nothing does."""
    if [item["item_id"] for item in found] != [item["item_id"] for item in expected]:
        return "other items, or another order"
    for mine, theirs in zip(found, expected, strict=True):
        for number in ("preference_score", "predicted_rating"):
            if mine[number] != pytest.approx(theirs[number], abs=TOLERANCE):
                return f"item {mine['item_id']}: {number} {mine[number]}, not {theirs[number]}"
    return None
