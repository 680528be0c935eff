"""Explanations over HTTP, against leaving each rating out by hand; and which ratings are left out.

The oracle is a session of the test's own that is asked about one history at a time.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from prometheus_client import CollectorRegistry

from models.bundle import Bundle
from models.histories import Histories
from service import explainer
from service.batcher import BatchLimits, MicroBatcher
from service.engine import Engine, Estimates, RateJob
from service.explainer import MAX_EXPLAINED, Explainer
from service.explanation_schemas import Explanation
from service.histories import Stamp
from service.metrics import Metrics
from tests.api_parts import TOLERANCE, history_feed, problem, session, without


def by_hand(graph: ort.InferenceSession, history: Histories, item: int) -> tuple[float, float]:
    """Predicted rating and preference score of an item for one history."""
    feed = history_feed(history) | {
        "target_items": np.array([item], np.int64),
        "target_rows": np.zeros(1, np.int64),
    }
    ratings, scores = graph.run(["ratings", "scores"], feed)
    return float(ratings[0]), float(scores[0])


def score_in_ranking(bundle: Bundle, history: Histories, item: int) -> float:
    """The preference score that recommendations would give, from the other graph."""
    only = np.zeros(len(bundle.catalog), np.bool_)
    only[item] = True
    feed = history_feed(history) | {
        "excluded_items": np.zeros(0, np.int64),
        "excluded_offsets": np.zeros(2, np.int64),
        "allowed": only,
        "k": np.array(1, np.int64),
    }
    (scores,) = session(bundle, "recommend").run(["scores"], feed)
    return float(scores[0, 0])


def assert_left_out_by_hand(
    bundle: Bundle, answer: dict[str, Any], history: Histories, item: int
) -> None:
    """Each change is what leaving that rating out of `history` makes, the largest first."""
    graph = session(bundle, "rate")
    rating, score = by_hand(graph, history, item)
    assert score == pytest.approx(score_in_ranking(bundle, history, item), abs=1e-4)
    assert answer["item"]["predicted_rating"] == pytest.approx(rating, abs=TOLERANCE)
    assert answer["item"]["preference_score"] == pytest.approx(score, abs=TOLERANCE)
    own = dict(zip(history.items.tolist(), history.ratings.tolist(), strict=True))
    for moved in answer["ratings"]:
        other = bundle.catalog.index_by_id[moved["item_id"]]
        lacking = by_hand(graph, without(history, other), item)
        assert moved["title"] == bundle.catalog.titles[other]
        assert moved["rating"] == own[other]
        assert moved["predicted_rating_change"] == pytest.approx(rating - lacking[0], abs=TOLERANCE)
        assert moved["preference_score_change"] == pytest.approx(score - lacking[1], abs=TOLERANCE)
    sizes = [abs(moved["preference_score_change"]) for moved in answer["ratings"]]
    assert sizes == sorted(sizes, reverse=True)


def test_every_rating_is_left_out_in_turn(client: httpx.Client, bundle: Bundle) -> None:
    history = bundle.users.history_of("7")
    item = next(i for i in range(120) if i not in history.items)
    address = f"/v1/users/7/recommendations/{bundle.catalog.ids[item]}/explanation"
    answer = client.get(address).json()
    Explanation.model_validate(answer)
    assert (answer["user_id"], answer["basis"]) == ("7", "history")
    assert answer["model"]["digest"] == bundle.digest
    assert answer["item"]["item_id"] == bundle.catalog.ids[item]
    assert answer["item"]["rating"] is None
    assert len(answer["ratings"]) == len(history.items)
    assert "shortfall" not in answer
    assert abs(answer["ratings"][0]["preference_score_change"]) > 10 * TOLERANCE
    assert any(abs(m["predicted_rating_change"]) > 2 * TOLERANCE for m in answer["ratings"])
    assert_left_out_by_hand(bundle, answer, history, item)


def test_the_users_own_rating_of_the_item_is_left_out_first(
    client: httpx.Client, bundle: Bundle
) -> None:
    history = bundle.users.history_of("9")
    item, rating = int(history.items[4]), float(history.ratings[4])
    item_id = bundle.catalog.ids[item]
    answer = client.get(f"/v1/users/9/recommendations/{item_id}/explanation").json()
    assert answer["item"]["rating"] == rating
    assert len(answer["ratings"]) == len(history.items) - 1
    assert item_id not in [moved["item_id"] for moved in answer["ratings"]]
    assert_left_out_by_hand(bundle, answer, without(history, item), item)


def test_nobodys_ratings_moved_nothing(client: httpx.Client, bundle: Bundle) -> None:
    item_id = bundle.catalog.ids[30]
    answer = client.get(f"/v1/users/nobody/recommendations/{item_id}/explanation").json()
    Explanation.model_validate(answer)
    assert (answer["basis"], answer["ratings"]) == ("cold_start", [])
    assert_left_out_by_hand(bundle, answer, Histories.empty(1), 30)


def test_what_cannot_be_explained(client: httpx.Client, bundle: Bundle) -> None:
    address = "/v1/users/{}/recommendations/{}/explanation"
    missing = problem(client.get(address.format("1", "no-such-item")), 404)
    assert missing["type"] == "urn:usher:problem:no-such-item"
    known = bundle.catalog.ids[0]
    assert "user_id:" in problem(client.get(address.format("a b", known)), 422)["detail"]
    assert "item_id:" in problem(client.get(address.format("1", "a b")), 422)["detail"]
    refused = problem(client.get(address.format("1", known) + "?k=3"), 422)
    assert "no parameters" in refused["detail"]


# ---- ratings that came with the request


def given_ratings(client: httpx.Client, user: str) -> list[dict[str, Any]]:
    """A stored user's ratings as a request would bring them."""
    listed = client.get(f"/v1/users/{user}/ratings").json()["ratings"]
    return [{"item_id": r["item_id"], "rating": r["rating"]} for r in listed]


@pytest.mark.parametrize("rated", [False, True])
def test_given_ratings_are_explained_as_a_stored_users(
    client: httpx.Client, bundle: Bundle, rated: bool
) -> None:
    history = bundle.users.history_of("7")
    item = next(i for i in range(120) if (i in history.items) is rated)
    item_id = bundle.catalog.ids[item]
    stored = client.get(f"/v1/users/7/recommendations/{item_id}/explanation").json()
    body = {"item_id": item_id, "ratings": given_ratings(client, "7")[::-1]}
    answer = client.post("/v1/explanations", json=body).json()
    Explanation.model_validate(answer)
    assert (stored.pop("user_id"), answer.pop("user_id")) == ("7", None)
    assert (answer["item"]["rating"] is not None) is rated
    assert {m["item_id"] for m in answer["ratings"]} == {m["item_id"] for m in stored["ratings"]}
    by_item = {moved["item_id"]: moved for moved in stored["ratings"]}
    for moved in answer["ratings"]:
        assert moved == pytest.approx(by_item[moved["item_id"]], abs=TOLERANCE)
    assert answer["item"] == pytest.approx(stored["item"], abs=TOLERANCE)
    assert (answer["basis"], answer["model"]) == (stored["basis"], stored["model"])
    assert_left_out_by_hand(bundle, answer, without(history, item), item)


def test_without_ratings_nothing_moved_it(client: httpx.Client, bundle: Bundle) -> None:
    body = {"item_id": bundle.catalog.ids[30], "ratings": []}
    answer = client.post("/v1/explanations", json=body).json()
    assert (answer["basis"], answer["ratings"]) == ("cold_start", [])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"item_id": "no-such-item"}, "no-such-item"),
        ({"item_id": "a b"}, "body item_id"),
        ({"ratings": [{"item_id": "no-such-item", "rating": 3}]}, "no-such-item"),
        ({"ratings": None}, "body ratings"),
        ({"user_id": "1"}, "body user_id"),
    ],
)
def test_what_cannot_be_explained_of_given_ratings(
    client: httpx.Client, bundle: Bundle, change: dict[str, Any], named: str
) -> None:
    body = {"item_id": bundle.catalog.ids[0], "ratings": []} | change
    assert named in problem(client.post("/v1/explanations", json=body), 422)["detail"]
    off = {"item_id": bundle.catalog.ids[0],
           "ratings": [{"item_id": bundle.catalog.ids[1], "rating": 9}]}  # fmt: skip
    assert "Ratings go from" in problem(client.post("/v1/explanations", json=off), 422)["detail"]


# ---- which ratings, and how many


class OneHistory:
    """Everybody has this history."""

    def __init__(self, history: Histories) -> None:
        self.history = history

    async def stamp(self, user_id: str) -> Stamp:
        return Stamp(user_id, "0")

    async def read(self, user_id: str) -> tuple[Stamp, Histories]:
        return Stamp(user_id, "0"), self.history


def long_history(bundle: Bundle, repeats: int) -> Histories:
    """Every item but the first, `repeats` times: no real history, but as long as a real one."""
    rng = np.random.default_rng(0)
    items = np.sort(np.tile(np.arange(1, len(bundle.catalog)), repeats))
    values = rng.choice(bundle.manifest.rating_scale.levels, len(items)).astype(np.float32)
    return Histories(items, values, np.array([0, len(items)], np.int64))


def explained(
    bundle: Bundle, history: Histories, item: int
) -> tuple[dict[str, Any], list[list[RateJob]]]:
    """The answer, and what was submitted together."""
    submitted = []

    class Recording(MicroBatcher[RateJob, Estimates]):
        async def submit(self, jobs: Any) -> list[Estimates]:
            submitted.append(list(jobs))
            return await super().submit(jobs)

    async def ask() -> bytes:
        metrics = Metrics(CollectorRegistry())
        with ThreadPoolExecutor(1) as executor:
            rater = Recording(
                Engine(bundle).rate, RateJob.weigh, executor, BatchLimits(),
                metrics.of_graph("rate"),
            )  # fmt: skip
            who = Explainer(bundle, rater, OneHistory(history), metrics)
            return await who.explain("x", bundle.catalog.ids[item])

    return json.loads(asyncio.run(ask())), submitted


def test_of_a_long_history_the_likeliest_are_left_out_in_one_submission(bundle: Bundle) -> None:
    history = long_history(bundle, 1)
    short = explained(bundle, history, 0)[0]
    assert len(short["ratings"]) == len(history.items) == 119
    columns, mean = bundle.items, history.ratings.astype(np.float64).mean()
    near = columns.neighbours[0].tolist()

    def likelihood(entry: int) -> tuple[int, float, int, int]:
        item, rating = int(history.items[entry]), float(history.ratings[entry])
        place = near.index(item) if item in near else len(near)
        return place, -abs(rating - mean), int(columns.rating_counts[item]), entry

    likeliest = sorted(range(119), key=likelihood)
    for count in (40, 110):  # some of the neighbours, and more than there are
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(explainer, "MAX_EXPLAINED", count)
            answer, submitted = explained(bundle, history, 0)
        expected = {bundle.catalog.ids[int(history.items[entry])] for entry in likeliest[:count]}
        assert {moved["item_id"] for moved in answer["ratings"]} == expected
        assert [len(jobs) for jobs in submitted] == [count + 1]
        assert answer["shortfall"]["requested"] == 119
        assert answer["shortfall"]["returned"] == count
        assert f"Only {count} of the user's ratings" in answer["shortfall"]["detail"]
        assert_left_out_by_hand(bundle, answer, history, 0)


@pytest.mark.parametrize("length", [119 * 2, 119 * 20, 119 * 50, 119 * 84])
def test_all_histories_of_an_explanation_together_are_bounded(bundle: Bundle, length: int) -> None:
    history = long_history(bundle, length // 119)
    limit = 400_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explainer, "ENCODED_RATINGS", limit)
        chosen = Explainer.choose(_idle(bundle), 0, history)
    assert len(chosen) == min(MAX_EXPLAINED, limit // length - 1)
    assert (len(chosen) + 1) * length <= limit
    assert len(set(chosen.tolist())) == len(chosen)


def _idle(bundle: Bundle) -> Explainer:
    with ThreadPoolExecutor(1) as executor:
        metrics = Metrics(CollectorRegistry())
        rater = MicroBatcher(
            Engine(bundle).rate, RateJob.weigh, executor, BatchLimits(), metrics.of_graph("rate")
        )
        return Explainer(bundle, rater, OneHistory(Histories.empty(1)), metrics)
