"""The ratings people give: kept, taken back, replaced, by many at once; a real Redis throughout."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from models.bundle import Bundle
from models.histories import Histories
from service.errors import HistoryFull, RatingsUnavailable
from service.histories import BundleHistories, Stamp, StoredHistories
from service.metrics import Metrics
from service.stores.ratings import MAX_GIVEN, Delta, Given, RatingsStore, RepeatingPipeline
from service.stores.redis_link import RedisLink
from tests.service_fixtures import PATIENT_CACHE, RedisServer, Service, running_service

T = TypeVar("T")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


def asked(server: RedisServer, ask: Callable[[RatingsStore], Awaitable[T]]) -> T:
    """What `ask` says of a store of its own, in an event loop of its own."""

    async def main() -> T:
        redis = RepeatingPipeline(RedisLink(server.url, 5.0, 8), 8)
        store = RatingsStore(redis, Metrics(CollectorRegistry()))
        try:
            return await ask(store)
        finally:
            await store.close()

    return asyncio.run(main())


ITEMS = st.sampled_from(["1", "2", "a.b", "-", "_"])
RATING = st.sampled_from([0.5, 1.0, 3.5, 4.25, 5.0])
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("give"), ITEMS, RATING),
        st.tuples(st.just("take back"), ITEMS, st.none()),
        st.tuples(st.just("replace"), st.dictionaries(ITEMS, RATING), st.none()),
    ),
    max_size=12,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES)
def test_a_delta_is_what_a_dictionary_would_hold(
    redis_server: RedisServer, changes: list[Any]
) -> None:
    redis_server.command("FLUSHALL")
    held: dict[str, Given | None] = {}
    cleared, versions = False, []

    async def carry_out(store: RatingsStore) -> Delta:
        nonlocal held, cleared
        for number, (what, item, rating) in enumerate(changes):
            if what == "replace":
                given_now = {name: Given(value, number) for name, value in item.items()}
                held, cleared = dict(given_now), True
                await store.replace("u", given_now)
            else:
                held[item] = None if rating is None else Given(rating, number)
                await store.change("u", {item: held[item]})
            versions.append(await store.version("u"))
        return await store.read("u")

    delta = asked(redis_server, carry_out)
    assert delta == Delta(versions[-1] if versions else None, cleared, held)
    assert None not in versions
    assert len(set(versions)) == len(changes)


def test_writers_of_one_user_lose_nothing(redis_server: RedisServer) -> None:
    async def write(store: RatingsStore) -> Delta:
        changes = [store.change("u", {str(n): Given(n / 10, n)}) for n in range(100)]
        await asyncio.gather(*changes)
        return await store.read("u")

    assert asked(redis_server, write).ratings == {str(n): Given(n / 10, n) for n in range(100)}


def test_a_user_cannot_fill_the_store(redis_server: RedisServer) -> None:
    async def fill(store: RatingsStore) -> Delta:
        await store.change("u", {str(n): Given(3.0, 0) for n in range(MAX_GIVEN - 1)})
        await store.change("u", {"5": Given(4.0, 1)})  # no new one
        with pytest.raises(HistoryFull):
            await store.change("u", {"one more": Given(3.0, 0), "6": Given(1.0, 1)})
        return await store.read("u")

    ratings = asked(redis_server, fill).ratings
    assert ratings["5"] == Given(4.0, 1)
    assert ratings["6"] == Given(3.0, 0)
    assert len(ratings) == MAX_GIVEN - 1


def test_a_store_that_is_away_is_told_and_comes_back(redis_server: RedisServer) -> None:
    async def through_a_restart(store: RatingsStore) -> Delta:
        await asyncio.gather(*(store.change("u", {str(n): Given(3.0, n)}) for n in range(8)))
        redis_server.stop()
        with pytest.raises(RatingsUnavailable):
            await store.read("u")
        with pytest.raises(RatingsUnavailable, match="send it again"):
            await store.change("u", {"1": None})
        redis_server.start(*DURABLE)
        await asyncio.gather(*(store.change("u", {str(n): Given(4.0, n)}) for n in range(8)))
        redis_server.stop()
        redis_server.start(*DURABLE)  # behind the back of connections that lie idle
        return await store.read("u")

    assert asked(redis_server, through_a_restart).ratings["7"] == Given(4.0, 7)


@pytest.mark.parametrize(
    "words",
    [
        ("HSET", "usher:ratings:u", "@version", "t", "1", "many stars"),
        ("HSET", "usher:ratings:u", "1", "4.5 1700000000"),
        ("HSET", "usher:ratings:u", "@version", "t", "\N{SNOWMAN}", "-"),
        ("SET", "usher:ratings:u", "text"),
    ],
)
def test_what_is_no_history_is_never_half_read(
    redis_server: RedisServer, words: tuple[str, ...]
) -> None:
    redis_server.command(*words)
    with pytest.raises(RatingsUnavailable):
        asked(redis_server, lambda store: store.read("u"))


def test_a_history_is_the_bundles_with_the_delta_over_it(
    redis_server: RedisServer, bundle: Bundle
) -> None:
    users, catalog, scale = bundle.users, bundle.catalog, bundle.manifest.rating_scale
    user = users.ids[3].decode() if isinstance(users.ids[3], bytes) else str(users.ids[3])
    items, values = users.histories.of(3)
    unrated = next(row for row in range(len(catalog)) if row not in set(items.tolist()))
    first, second = (catalog.ids[int(row)] for row in items[:2])

    stamps: list[Stamp] = []
    reads: list[tuple[Stamp, Histories]] = []

    async def ask(store: RatingsStore) -> None:
        stored = StoredHistories(BundleHistories(users), store, catalog, scale)
        stamps.append(await stored.stamp(user))
        reads.append(await stored.read(user))
        await store.change(
            user,
            {
                first: None,
                second: Given(1.0, 5),
                catalog.ids[unrated]: Given(4.0, 5),
                "no-such-item": Given(4.0, 5),
            },
        )
        stamps.append(await stored.stamp(user))
        reads.append(await stored.read(user))
        await store.replace(user, {first: Given(2.0, 5), second: Given(99.0, 5)})
        reads.append(await stored.read(user))
        await store.replace(user, {})
        reads.extend([await stored.read(user), await stored.read("stranger")])

    asked(redis_server, ask)
    before, after = stamps
    (stamp, plain), (later, changed), (_, replaced), (_, none), (unknown, _) = reads
    assert before == stamp
    assert stamp == Stamp(user, "0")
    np.testing.assert_array_equal(plain.items, items)
    assert later == after
    assert after.version not in ("0", stamp.version)
    expected = dict(zip(items.tolist(), values.tolist(), strict=True))
    del expected[int(items[0])]
    expected |= {int(items[1]): 1.0, unrated: 4.0}
    assert changed.items.tolist() == sorted(expected)
    assert changed.ratings.tolist() == [expected[item] for item in sorted(expected)]
    assert (replaced.items.tolist(), replaced.ratings.tolist()) == ([int(items[0])], [2.0])
    assert len(none.items) == 0
    assert unknown == (None, "0")


# Over HTTP


def top(service: Service, user: str) -> list[str]:
    answer = service.client.get(f"/v1/users/{user}/recommendations?k=10")
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def ratings_of(service: Service, user: str) -> dict[str, float]:
    listed = service.client.get(f"/v1/users/{user}/ratings").json()["ratings"]
    return {rating["item_id"]: rating["rating"] for rating in listed}


def test_a_rating_counts_in_the_next_answer_and_survives_a_crash(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, bundle: Bundle
) -> None:
    cache, ratings = (RedisServer(tmp_path_factory.mktemp("redis")) for _ in range(2))
    cache.start()
    ratings.start(*DURABLE)
    environment = PATIENT_CACHE | {
        "USHER_MODEL": str(bundle.path),
        "USHER_CACHE_URL": cache.url,
        "USHER_RATINGS_URL": ratings.url,
    }
    scale = bundle.manifest.rating_scale
    try:
        with running_service(tmp_path, **environment) as service:
            client = service.client
            before = top(service, "new")
            assert client.get("/v1/users/new/recommendations").json()["basis"] == "cold_start"
            loved, hated = before[0], before[1]
            for item, value in ((loved, scale.maximum), (hated, scale.minimum)):
                kept = client.put(f"/v1/users/new/ratings/{item}", json={"rating": value})
                assert kept.status_code == 200, kept.text
                assert kept.json()["counts"] is True
            for item, value, part in (
                (loved, scale.maximum + 1, "body rating"),
                (loved, scale.minimum + scale.step / 3, "body rating"),
                ("nothing", scale.maximum, "item_id"),
            ):
                refused = client.put(f"/v1/users/new/ratings/{item}", json={"rating": value})
                assert refused.status_code == 422
                assert [fault["where"] for fault in refused.json()["errors"]] == [part]
            after = top(service, "new")
            assert loved not in after
            assert hated not in after
            given = [
                {"item_id": loved, "rating": scale.maximum},
                {"item_id": hated, "rating": scale.minimum},
            ]
            same = client.post("/v1/recommendations", json={"ratings": given}).json()
            assert [item["item_id"] for item in same["items"]] == after
            assert client.get("/v1/users/new/recommendations").headers["X-Cache"] == "hit"
            etag = client.get("/v1/users/new/recommendations").headers["ETag"]
            assert client.delete(f"/v1/users/new/ratings/{hated}").status_code == 204
            fresh = client.get("/v1/users/new/recommendations", headers={"If-None-Match": etag})
            assert fresh.status_code == 200
            assert client.get(f"/v1/users/new/ratings/{hated}").status_code == 404
            assert client.get(f"/v1/users/new/ratings/{loved}").json()["rating"] == scale.maximum

            ratings.stop()
            for method, path in (
                ("GET", "/v1/users/new/recommendations"),
                ("GET", "/v1/users/new/ratings"),
                ("DELETE", f"/v1/users/new/ratings/{loved}"),
            ):
                refused = client.request(method, path)
                assert refused.status_code == 503, refused.text
                assert refused.json()["type"] == "urn:usher:problem:ratings-unavailable"
                assert refused.headers["Retry-After"] == "1"
            assert client.post("/v1/recommendations", json={"ratings": given}).status_code == 200
            ratings.start(*DURABLE)
            assert ratings_of(service, "new") == {loved: scale.maximum}
            assert loved not in top(service, "new")

            known = bundle.users.ids[0]
            user = known.decode() if isinstance(known, bytes) else str(known)
            trained_on = ratings_of(service, user)
            items, _ = bundle.users.histories.of(0)
            assert set(trained_on) == {bundle.catalog.ids[int(item)] for item in items}
            assert client.delete(f"/v1/users/{user}/ratings").status_code == 204
            assert ratings_of(service, user) == {}
            nobody = client.get(f"/v1/users/{user}/recommendations").json()
            assert nobody["basis"] == "cold_start"
            assert client.put(f"/v1/users/{user}/ratings", json={"ratings": given}).json()
            assert ratings_of(service, user) == {loved: scale.maximum, hated: scale.minimum}
            many = client.post("/v1/recommendations", json={"user_ids": [user, "new"]}).json()
            assert [i["item_id"] for i in many["answers"][0]["items"]] == top(service, user)
            log = service.log.read_text()
        assert "Traceback" not in log
    finally:
        cache.stop()
        ratings.stop()


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/v1/users/u/ratings/no-such-item", {"rating": 3}, 422, "unknown-item"),
        ("/v1/users/u/ratings/{item}", {"rating": 77}, 422, "invalid-request"),
        ("/v1/users/u/ratings/{item}", {"rating": "3"}, 422, "invalid-request"),
        ("/v1/users/u/ratings/{item}", {"rating": 3, "stars": 3}, 422, "invalid-request"),
        ("/v1/users/u/ratings/{item}", {"rating": 3, "rated_at": -1}, 422, "invalid-request"),
        ("/v1/users/u/ratings/{item}", {"rating": 3}, 501, "ratings-not-kept"),
        ("/v1/users/u/ratings", {"ratings": []}, 501, "ratings-not-kept"),
        ("/v1/users/u/ratings/a%20b", {"rating": 3}, 422, "invalid-request"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_one_sentence(
    service: Service, bundle: Bundle, path: str, body: dict[str, object], status: int, kind: str
) -> None:
    answer = service.client.put(path.format(item=bundle.catalog.ids[0]), json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"urn:usher:problem:{kind}"
    assert "\n" not in answer.json()["detail"]
