"""The REST API over HTTP: what it answers, and that its numbers are the graphs' numbers.

The oracle is a session of the test's own, fed by hand, and numpy.
"""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from models.histories import Histories
from service.api.model import years_of
from service.model_schemas import ModelCard
from service.schemas import ManyRecommendations, Predictions, Recommendations
from tests.api_parts import TOLERANCE, history_feed, session, without
from tests.small_ratings import blank_catalog


def rate_by_hand(
    bundle: Bundle, history: Histories, items: list[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Predicted ratings and spreads of items for one history."""
    feed = history_feed(history) | {
        "target_items": np.array(items, np.int64),
        "target_rows": np.zeros(len(items), np.int64),
    }
    ratings, spreads = session(bundle, "rate").run(["ratings", "spreads"], feed)
    return ratings, spreads


def assert_interval(bundle: Bundle, answered: Any, rating: float, spread: float) -> None:
    calibration, scale = bundle.manifest.calibration, bundle.manifest.rating_scale
    low, high = rating - calibration.multiplier * spread, rating + calibration.multiplier * spread
    assert answered["low"] == pytest.approx(max(low, scale.minimum), abs=TOLERANCE)
    assert answered["high"] == pytest.approx(min(high, scale.maximum), abs=TOLERANCE)
    assert answered["coverage"] == pytest.approx(calibration.coverage)


# ---- recommendations


def test_recommendations_are_the_graphs(client: httpx.Client, bundle: Bundle) -> None:
    user_id = bundle.users.ids[7].decode()
    history = bundle.users.histories.take([7])
    feed = history_feed(history) | {
        "excluded_items": history.items,
        "excluded_offsets": history.offsets,
        "allowed": np.ones(len(bundle.catalog), np.bool_),
        "k": np.array(20, np.int64),
    }
    graph = session(bundle, "recommend")
    items, scores, ratings, spreads = (
        output[0] for output in graph.run(["items", "scores", "ratings", "spreads"], feed)
    )
    answer = client.get(f"/v1/users/{user_id}/recommendations", params={"k": 20}).json()
    Recommendations.model_validate(answer)
    assert (answer["user_id"], answer["basis"]) == (user_id, "history")
    assert answer["model"] == {"version": "tiny", "digest": bundle.digest}
    assert "shortfall" not in answer
    assert [item["item_id"] for item in answer["items"]] == [
        bundle.catalog.ids[index] for index in items[:20]
    ]
    for item, index, score, rating, spread in zip(
        answer["items"], items, scores, ratings, spreads, strict=False
    ):
        assert item["title"] == bundle.catalog.titles[index]
        assert item["year"] == (int(bundle.catalog.years[index]) or None)
        assert item["genres"] == bundle.catalog.genres_of(index)
        assert item["preference_score"] == pytest.approx(score, abs=TOLERANCE)
        assert item["predicted_rating"] == pytest.approx(rating, abs=TOLERANCE)
        assert item["preference_score"] == round(item["preference_score"], 3)
        assert "rating" not in item
        assert_interval(bundle, item["interval"], rating, spread)


def test_ten_items_unless_asked_otherwise(client: httpx.Client) -> None:
    assert len(client.get("/v1/users/1/recommendations").json()["items"]) == 10
    assert len(client.get("/v1/users/1/recommendations?k=1").json()["items"]) == 1
    assert len(client.get("/v1/users/1/recommendations?k=&genre=").json()["items"]) == 10


def test_an_unknown_user_gets_a_cold_start(client: httpx.Client) -> None:
    one = client.get("/v1/users/nobody.knows-me_1/recommendations")
    other = client.get("/v1/users/a-very-long-id-that-no-user-of-the-bundle-has/recommendations")
    assert one.status_code == 200
    assert one.json()["basis"] == "cold_start"
    assert one.json()["user_id"] == "nobody.knows-me_1"
    assert other.json()["user_id"].startswith("a-very-long-id")
    assert other.headers["X-Cache"] == "hit", "empty histories share one entry"
    assert one.headers["ETag"] == other.headers["ETag"]
    assert one.json()["items"] == other.json()["items"]


def test_filters_work_together_and_say_what_they_left(client: httpx.Client, bundle: Bundle) -> None:
    catalog = bundle.catalog
    parameters = {"k": "100", "genre": ["Comedy", "Drama"], "year_min": "1990", "year_max": "2005"}
    answer = client.get("/v1/users/3/recommendations", params=parameters).json()
    fitting = {
        catalog.ids[index]
        for index in range(len(catalog))
        if {"Comedy", "Drama"} & set(catalog.genres_of(index))
        and 1990 <= catalog.years[index] <= 2005
    }
    items, _ = bundle.users.history_of("3").of(0)
    seen = {catalog.ids[index] for index in items}
    assert seen & fitting, "the test would not see a filter that forgets what was rated"
    assert {item["item_id"] for item in answer["items"]} == fitting - seen
    assert answer["shortfall"]["requested"] == 100
    assert answer["shortfall"]["returned"] == len(fitting - seen)


def test_excluded_items_make_room_for_the_next(client: httpx.Client) -> None:
    before = client.get("/v1/users/1/recommendations?k=5").json()["items"]
    first, third = before[0]["item_id"], before[2]["item_id"]
    after = client.get(f"/v1/users/1/recommendations?k=3&exclude={first}&exclude={third}").json()
    assert [item["item_id"] for item in after["items"]] == [before[n]["item_id"] for n in (1, 3, 4)]


def test_rated_items_may_come_with_their_rating_and_a_prediction_without_it(
    client: httpx.Client, bundle: Bundle
) -> None:
    answer = client.get("/v1/users/2/recommendations?k=100&include_seen=true").json()
    items, ratings = bundle.users.history_of("2").of(0)
    own = dict(zip(items.tolist(), ratings.tolist(), strict=True))
    answered = {bundle.catalog.index_by_id[item["item_id"]]: item for item in answer["items"]}
    assert set(own) & set(answered)
    for index, item in answered.items():
        assert item.get("rating") == own.get(index)
        rating, spread = rate_by_hand(bundle, without(bundle.users.history_of("2"), index), [index])
        assert item["predicted_rating"] == pytest.approx(rating[0], abs=TOLERANCE)
        assert_interval(bundle, item["interval"], rating[0], spread[0])


def test_given_ratings_get_a_stored_users_answer(client: httpx.Client, bundle: Bundle) -> None:
    items, ratings = bundle.users.history_of("5").of(0)
    given_ratings = [
        {"item_id": bundle.catalog.ids[item], "rating": float(rating), "rated_at": 1_600_000_000}
        for item, rating in zip(items, ratings, strict=True)
    ]
    given_ratings.reverse()
    stored = client.get("/v1/users/5/recommendations?k=7&genre=Drama").json()
    body = {"ratings": given_ratings, "k": 7, "genre": ["Drama"]}
    given_answer = client.post("/v1/recommendations", json=body)
    assert given_answer.headers["X-Cache"] == "off"
    assert given_answer.json()["user_id"] is None
    assert_same_answers(given_answer.json(), stored)
    nothing = client.post("/v1/recommendations", json={"ratings": []}).json()
    assert nothing["basis"] == "cold_start"


def assert_same_answers(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["basis"] == other["basis"]
    assert [item["item_id"] for item in one["items"]] == [
        item["item_id"] for item in other["items"]
    ]
    for item, twin in zip(one["items"], other["items"], strict=True):
        for number in ("preference_score", "predicted_rating"):
            assert item[number] == pytest.approx(twin[number], abs=TOLERANCE)


def test_many_users_get_each_their_own(client: httpx.Client, bundle: Bundle) -> None:
    user_ids = [user_id.decode() for user_id in bundle.users.ids[:40]] + ["nobody", "1"]
    answers = client.post("/v1/recommendations", json={"user_ids": user_ids, "k": 4}).json()
    ManyRecommendations.model_validate(answers)
    assert [answer["user_id"] for answer in answers["answers"]] == user_ids
    for answer in answers["answers"]:
        alone = client.get(f"/v1/users/{answer['user_id']}/recommendations?k=4").json()
        assert_same_answers(answer, alone)


# ---- predictions


def test_predictions_are_the_graphs_and_leave_the_users_own_out(
    client: httpx.Client, bundle: Bundle
) -> None:
    history = bundle.users.history_of("9")
    own = dict(zip(history.items.tolist(), history.ratings.tolist(), strict=True))
    asked = [*list(own)[:3], *[i for i in range(len(bundle.catalog)) if i not in own][:3]]
    asked = [asked[n] for n in (3, 0, 4, 1, 1, 5, 2)]
    item_ids = [bundle.catalog.ids[index] for index in asked]
    answer = client.post("/v1/predictions", json={"user_id": "9", "item_ids": item_ids}).json()
    Predictions.model_validate(answer)
    assert [item["item_id"] for item in answer["items"]] == item_ids
    for item, index in zip(answer["items"], asked, strict=True):
        rating, spread = rate_by_hand(bundle, without(history, index), [index])
        assert item["rating"] == own.get(index)
        assert item["predicted_rating"] == pytest.approx(rating[0], abs=TOLERANCE)
        assert_interval(bundle, item["interval"], rating[0], spread[0])


def test_predictions_for_given_ratings_and_for_nobody(client: httpx.Client, bundle: Bundle) -> None:
    ids = bundle.catalog.ids
    body = {"ratings": [{"item_id": ids[4], "rating": 5}], "item_ids": [ids[4], ids[5]]}
    answer = client.post("/v1/predictions", json=body).json()
    assert (answer["user_id"], answer["basis"]) == (None, "history")
    assert [item["rating"] for item in answer["items"]] == [5.0, None]
    nobody = client.post("/v1/predictions", json={"user_id": "nobody", "item_ids": [ids[4]]}).json()
    assert nobody["basis"] == "cold_start"
    left_out = answer["items"][0]["predicted_rating"]
    assert left_out == pytest.approx(nobody["items"][0]["predicted_rating"], abs=TOLERANCE)


# ---- the model


def test_the_model_tells_how_good_it_is(client: httpx.Client, bundle: Bundle) -> None:
    card = client.get("/v1/model").json()
    ModelCard.model_validate(card)
    assert card["digest"] == bundle.digest
    assert card["metrics"] == bundle.manifest.metrics
    assert card["baselines"] == bundle.manifest.baselines
    assert card["configuration"] == bundle.manifest.configuration
    assert card["providers"] == {"configured": ["cpu"], "in_use": ["cpu"]}
    assert (card["users"], card["items"]) == (len(bundle.users), len(bundle.catalog))
    assert card["genres"] == list(bundle.catalog.genre_names)
    years = [int(year) for year in bundle.catalog.years if year]
    assert card["years"] == {"first": min(years), "last": max(years)}
    assert years_of(blank_catalog(3)) is None
