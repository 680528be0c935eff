"""Finished bodies: what is written by hand against json, and numbers that JSON cannot say."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from models.bundle import Bundle
from models.catalog import Catalog
from service.answers import AnswerWriter, item_members
from service.engine import Ranking
from service.rounding import Rounding, rounded

ODD = 'A "quoted" \\ title, é\u2028\n\x07 (1999)'


Rank = Callable[[list[int], list[float], list[float]], Ranking]


@pytest.fixture
def ranking(bundle: Bundle) -> Rank:
    def made(items: list[int], scores: list[float], ratings: list[float]) -> Ranking:
        numbers = (np.array(scores, np.float32), np.array(ratings, np.float32),
                   np.full(len(items), 0.25, np.float32))  # fmt: skip
        rows = Rounding(bundle.manifest).of_rankings(*numbers)
        return Ranking(np.array(items, np.int64), *numbers, rows)

    return made


@pytest.fixture
def writer(bundle: Bundle) -> AnswerWriter:
    return AnswerWriter(bundle)


def test_a_body_is_what_json_would_write(
    bundle: Bundle, writer: AnswerWriter, ranking: Rank
) -> None:
    best = ranking([5, 0, 77], [12.34567, -0.0004, 1e6], [4.9999, 3.14159, 1.0])
    body = writer.recommendations("history", 5, best, {0: 2.5})
    document = json.loads(body)
    manifest = bundle.manifest
    scale, multiplier = manifest.rating_scale, manifest.calibration.multiplier
    reach = multiplier * 0.25
    expected = [
        item_members(bundle.catalog, item)
        | {
            "preference_score": score,
            "predicted_rating": rating,
            "interval": {
                "low": round(max(scale.minimum, float(np.float32(raw)) - reach), 3),
                "high": round(min(scale.maximum, float(np.float32(raw)) + reach), 3),
                "coverage": manifest.calibration.coverage,
            },
        }
        for item, score, rating, raw in (
            (5, 12.346, 5.0, 4.9999), (0, 0.0, 3.142, 3.14159), (77, 1e6, 1.0, 1.0)
        )
    ]  # fmt: skip
    expected[1]["rating"] = 2.5
    assert document["items"] == expected
    assert document["model"] == {"version": manifest.version, "digest": bundle.digest}
    assert document["shortfall"]["returned"] == 3
    compact = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    assert body == compact


def test_titles_of_any_kind_are_escaped(bundle: Bundle, ranking: Rank) -> None:
    catalog = bundle.catalog
    titles = [ODD, *list(catalog.titles)[1:]]
    odd = Catalog(catalog.ids, titles, catalog.years, catalog.genre_names, catalog.genres)
    copy = Bundle(bundle.path, bundle.digest, bundle.manifest)
    object.__setattr__(copy, "catalog", odd)
    body = AnswerWriter(copy).recommendations("history", 1, ranking([0], [1.0], [3.0]), {})
    assert json.loads(body)["items"][0]["title"] == ODD


def test_no_item_is_a_body_too(writer: AnswerWriter, ranking: Rank) -> None:
    document = json.loads(writer.recommendations("cold_start", 3, ranking([], [], []), {}))
    assert document["items"] == []
    assert document["shortfall"] == {
        "requested": 3,
        "returned": 0,
        "detail": "Only 0 items pass the filters and are neither excluded nor already rated.",
    }


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused(
    writer: AnswerWriter, value: float, ranking: Rank
) -> None:
    with pytest.raises(ValueError, match="not finite"):
        rounded(np.array([1.0, value], np.float32))
    with pytest.raises(ValueError, match="not finite"):
        writer.recommendations("history", 1, ranking([0], [1.0], [value]), {})
