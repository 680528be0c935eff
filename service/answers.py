"""Answers: from item indices and numbers to the JSON a caller reads.

Numbers are rounded to 3 decimals here and nowhere else. The user's id is put in front of a body
that does not hold it, so that all users without a history can share one cached body.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from service.engine import Ranking
from service.schemas import Basis

DECIMALS = 3


class AnswerWriter:
    """Writes the answers of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self._catalog = bundle.catalog
        self._scale = manifest.rating_scale
        self._multiplier = manifest.calibration.multiplier
        self._coverage = round(manifest.calibration.coverage, DECIMALS)
        self._model = {"version": manifest.version, "digest": bundle.digest}

    def recommendations(
        self, basis: Basis, asked: int, ranking: Ranking, own_ratings: Mapping[int, float]
    ) -> bytes:
        """The body of a top k but for the user's id. `own_ratings`: the user's, by item index."""
        intervals = self.intervals(ranking.ratings, ranking.spreads)
        rows = zip(
            ranking.items.tolist(),
            _rounded(ranking.scores),
            _rounded(ranking.ratings),
            intervals,
            strict=True,
        )
        items = [
            self._item(item)
            | {"preference_score": score, "predicted_rating": rating, "interval": interval}
            | ({"rating": round(own_ratings[item], DECIMALS)} if item in own_ratings else {})
            for item, score, rating, interval in rows
        ]
        members = {"basis": basis, "model": self._model, "items": items}
        if len(items) < asked:
            members["shortfall"] = _shortfall(asked, len(items))
        return _json(members)

    def predictions(
        self,
        basis: Basis,
        items: NDArray[np.int64],
        ratings: NDArray[np.float32],
        spreads: NDArray[np.float32],
        own_ratings: Mapping[int, float],
    ) -> bytes:
        """The body of predicted ratings but for the user's id; arrays are [T], in order."""
        rows = zip(items.tolist(), _rounded(ratings), self.intervals(ratings, spreads), strict=True)
        answered = [
            {
                "item_id": self._catalog.ids[item],
                "title": self._catalog.titles[item],
                "predicted_rating": rating,
                "interval": interval,
                "rating": round(own_ratings[item], DECIMALS) if item in own_ratings else None,
            }
            for item, rating, interval in rows
        ]
        return _json({"basis": basis, "model": self._model, "items": answered})

    def intervals(
        self, ratings: NDArray[np.float32], spreads: NDArray[np.float32]
    ) -> list[dict[str, float]]:
        """rating -+ multiplier * spread, clipped to the scale, with the coverage it promises."""
        reach = self._multiplier * spreads.astype(np.float64)
        ends = (self._scale.minimum, self._scale.maximum)
        lows = _rounded(np.clip(ratings - reach, *ends))
        highs = _rounded(np.clip(ratings + reach, *ends))
        return [
            {"low": low, "high": high, "coverage": self._coverage}
            for low, high in zip(lows, highs, strict=True)
        ]

    def _item(self, index: int) -> dict[str, Any]:
        return {
            "item_id": self._catalog.ids[index],
            "title": self._catalog.titles[index],
            "year": int(self._catalog.years[index]) or None,
            "genres": self._catalog.genres_of(index),
        }


def addressed(user_id: str | None, body: bytes) -> bytes:
    """A body with the user's id, or null, as its first member."""
    return b'{"user_id":' + json.dumps(user_id).encode() + b"," + body[1:]


def many(bodies: Iterable[bytes]) -> bytes:
    """Several addressed bodies as one answer."""
    return b'{"answers":[' + b",".join(bodies) + b"]}"


def _shortfall(asked: int, returned: int) -> dict[str, Any]:
    detail = f"Only {returned} items pass the filters and are neither excluded nor already rated."
    return {"requested": asked, "returned": returned, "detail": detail}


def _rounded(values: NDArray[Any]) -> list[float]:
    rounded: list[float] = (np.round(values.astype(np.float64), DECIMALS) + 0.0).tolist()
    return rounded  # adding 0.0 turns -0.0 into 0.0


def _json(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
