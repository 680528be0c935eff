"""Answers: from item indices and numbers to the JSON a caller reads.

The user's id is put in front of a body
that does not hold it, so that all users without a history can share one cached body.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.catalog import Catalog
from service.engine import Ranking
from service.rounding import DECIMALS, PLACES, Rounding, not_finite, rounded
from service.schemas import Basis

WRITTEN_NUMBERS = 16_384
DESCRIBED_ITEMS = 16_384  # of some 200 bytes each; the likeliest to be recommended again


class AnswerWriter:
    """Writes the answers of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self._catalog = bundle.catalog
        self._rounding = Rounding(manifest)
        self._coverage = round(manifest.calibration.coverage, DECIMALS)
        self._model = model_members(bundle)
        self._model_text = to_text(self._model)
        self._described = lru_cache(DESCRIBED_ITEMS)(self._describe)

    def recommendations(
        self, basis: Basis, asked: int, ranking: Ranking, own_ratings: Mapping[int, float]
    ) -> bytes:
        """The body of a top k but for the user's id. `own_ratings`: the user's, by item index."""
        numbers: list[list[float]] = ranking.thousandths.tolist()
        if not math.isfinite(sum(map(sum, numbers))):
            raise not_finite()
        items = []
        # Written by hand: this is most of what a recommendation costs outside the graph.
        for item, score, rating, low, high in zip(ranking.items.tolist(), *numbers, strict=True):
            own = own_ratings.get(item)
            items.append(
                f'{self._described(item)},"preference_score":{score / PLACES},'
                f'"predicted_rating":{_in_stars(rating)},"interval":{{"low":{_in_stars(low)},'
                f'"high":{_in_stars(high)},"coverage":{self._coverage}}}'
                + (f',"rating":{round(own, DECIMALS)}}}' if own is not None else "}")
            )
        head = f'{{"basis":"{basis}","model":{self._model_text},"items":['
        tail = "]}"
        if len(items) < asked:
            what = "items pass the filters and are neither excluded nor already rated"
            tail = f'],"shortfall":{to_text(shortfall(asked, len(items), what))}}}'
        return (head + ",".join(items) + tail).encode()

    def _describe(self, item: int) -> str:
        """JSON of what every answer says of an item, still open at its end."""
        return to_text(item_members(self._catalog, item))[:-1]

    def predictions(
        self,
        basis: Basis,
        items: NDArray[np.int64],
        ratings: NDArray[np.float32],
        spreads: NDArray[np.float32],
        own_ratings: Mapping[int, float],
    ) -> bytes:
        """The body of predicted ratings but for the user's id; arrays are [T], in order."""
        rows = zip(items.tolist(), rounded(ratings), self.intervals(ratings, spreads), strict=True)
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
        return to_json({"basis": basis, "model": self._model, "items": answered})

    def intervals(
        self, ratings: NDArray[np.float32], spreads: NDArray[np.float32]
    ) -> list[dict[str, float]]:
        """rating -+ multiplier * spread, clipped to the scale, with the coverage it promises."""
        return [
            {"low": low, "high": high, "coverage": self._coverage}
            for low, high in zip(*map(rounded, self._rounding.ends(ratings, spreads)), strict=True)
        ]


def addressed(user_id: str | None, body: bytes) -> bytes:
    """A body with the user's id, or null, as its first member."""
    return b'{"user_id":' + json.dumps(user_id).encode() + b"," + body[1:]


def many(bodies: Iterable[bytes]) -> bytes:
    """Several addressed bodies as one answer."""
    return b'{"answers":[' + b",".join(bodies) + b"]}"


def item_members(catalog: Catalog, row: int) -> dict[str, Any]:
    """What every answer says of an item."""
    return {
        "item_id": catalog.ids[row],
        "title": catalog.titles[row],
        "year": int(catalog.years[row]) or None,
        "genres": catalog.genres_of(row),
    }


def model_members(bundle: Bundle) -> dict[str, str]:
    """Which model answered."""
    return {"version": bundle.manifest.version, "digest": bundle.digest}


def shortfall(asked: int, returned: int, what: str) -> dict[str, Any]:
    """Why there are fewer than asked for: "Only 3 <what>."."""
    detail = f"Only {returned} {what}."
    return {"requested": asked, "returned": returned, "detail": detail}


@lru_cache(WRITTEN_NUMBERS)
def _in_stars(thousandths: float) -> str:
    """A number on the rating scale as JSON: they repeat, and writing one anew takes four times."""
    return repr(thousandths / PLACES)


def to_json(members: Mapping[str, Any]) -> bytes:
    """An answer's body."""
    return to_text(members).encode()


def to_text(members: Mapping[str, Any]) -> str:
    """JSON without a space."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
