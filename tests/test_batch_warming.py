"""A warmed cache holds what the service would have written, and a broken one harms nothing."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from service.bundles import activate
from tests.batch_runs import batch, recommended, redis_at
from tests.oracle import TOLERANCE
from tests.service_fixtures import (
    PATIENT_CACHE,
    RedisServer,
    Service,
    await_condition,
    running_service,
)
from tests.tiny import tiny_bundle

TTL_S = 1000
NUMBER = re.compile(rb"-?\d+\.\d+(?:e-?\d+)?")


@dataclass
class Warmed:
    """A running service and how a batch reaches its model and both its Redis."""

    service: Service
    cache: RedisServer
    where: dict[str, str]
    users: list[str]

    def ask(self, user: str, query: str = "") -> tuple[str, bytes]:
        answer = self.service.client.get(f"/v1/users/{user}/recommendations{query}")
        assert answer.status_code == 200
        return answer.headers["X-Cache"], answer.content


@pytest.fixture(scope="module")
def warmed(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warmed]:
    folder = tmp_path_factory.mktemp("warmed")
    with redis_at(folder / "cache") as cache, redis_at(folder / "ratings") as ratings:
        where = {
            "USHER_MODEL": str(bundle.path),
            "USHER_CACHE_URL": cache.url,
            "USHER_RATINGS_URL": ratings.url,
            "USHER_CACHE_TTL_S": str(TTL_S),
        }
        with running_service(folder, **where, **PATIENT_CACHE) as service:
            users = [user.decode() for user in bundle.users.ids]
            newcomer, item = "a-newcomer", bundle.catalog.ids[3]
            for user in (users[4], newcomer):
                path = f"/v1/users/{user}/ratings/{item}"
                assert service.client.put(path, json={"rating": 5}).is_success
            assert service.client.delete(f"/v1/users/{users[6]}/ratings").is_success
            yield Warmed(service, cache, where, [*users, newcomer])


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ([], ""),
        (
            ["--k", "5", "--genre", "Drama", "--genre", "Action", "--include-seen"],
            "?include_seen=true&genre=Action&genre=Drama&k=5",
        ),
    ],
    ids=["default", "narrowed"],
)
def test_the_next_answer_is_a_hit_of_what_a_miss_would_have_given(
    warmed: Warmed, options: list[str], query: str
) -> None:
    misses = {user: warmed.ask(user, query)[1] for user in warmed.users}
    warmed.cache.command("FLUSHALL")
    assert batch(warmed.where, "--warm-only", *options) == 0
    entries = warmed.cache.command("DBSIZE")
    for user, miss in misses.items():
        state, body = warmed.ask(user, query)
        assert state == "hit"
        # Byte for byte, but that float32 sums of another batch may round to another thousandth.
        assert NUMBER.sub(b"#", body) == NUMBER.sub(b"#", miss)
        warm, computed = (np.array(NUMBER.findall(text), float) for text in (body, miss))
        np.testing.assert_allclose(warm, computed, rtol=0, atol=TOLERANCE)
    assert warmed.cache.command("DBSIZE") == entries
    assert warmed.ask("nobody-at-all", query)[0] == "hit"


def test_entries_expire_within_a_tenth_of_their_time(warmed: Warmed) -> None:
    warmed.cache.command("FLUSHALL")
    assert batch(warmed.where, "--warm-only", "--k", "2") == 0
    names = re.findall(rb"usher:answer:\w+", warmed.cache.command("KEYS", "*"))
    left = {int(warmed.cache.command("TTL", name).strip(b":\r\n")) for name in names}
    assert len(names) == len(warmed.users) + 1  # all whom nobody knows share one
    assert min(left) >= 0.9 * TTL_S - 60
    assert max(left) <= TTL_S
    assert len(left) > 10


def test_a_rating_given_meanwhile_only_makes_an_entry_unused(
    warmed: Warmed, bundle: Bundle
) -> None:
    warmed.cache.command("FLUSHALL")
    assert batch(warmed.where, "--warm-only") == 0
    user = warmed.users[10]
    before = warmed.ask(user)
    path = f"/v1/users/{user}/ratings/{json.loads(before[1])['items'][0]['item_id']}"
    assert warmed.service.client.put(path, json={"rating": 1}).is_success
    state, body = warmed.ask(user)
    assert (before[0], state) == ("hit", "miss")
    assert body != before[1]
    assert warmed.ask(warmed.users[11])[0] == "hit"


def test_parquet_and_cache_can_be_filled_at_once(
    warmed: Warmed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed.cache.command("FLUSHALL")
    assert batch(warmed.where, "--out", tmp_path, "--warm-cache", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cache"] == {"stored": len(warmed.users) + 1, "failed": 0, "rested": 0}
    state, body = warmed.ask(warmed.users[0])
    assert state == "hit"
    rows = recommended(tmp_path)[warmed.users[0]]
    assert [row["item_id"] for row in rows] == [i["item_id"] for i in json.loads(body)["items"]]


def test_a_cache_that_is_away_is_told_and_parquet_written(
    warmed: Warmed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = warmed.where | {"USHER_CACHE_URL": f"unix://{tmp_path}/nobody.sock"}
    assert batch(away, "--out", tmp_path / "out", "--warm-cache", "--json") == 0
    said = capsys.readouterr()
    count = len(warmed.users) + 1
    assert said.err == (f"The cache did not take {count} answers: Redis was away, slow or full.\n")
    cache = json.loads(said.out)["cache"]
    assert (cache["stored"], cache["failed"] + cache["rested"]) == (0, count)
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert batch(away, "--warm-only") == 2


def test_a_cache_that_is_too_small_is_told(
    warmed: Warmed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "users.txt"
    listed.write_text("\n".join(warmed.users))
    small = ("--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru")
    with redis_at(tmp_path / "small", *small) as cache:
        tight = warmed.where | {"USHER_CACHE_URL": cache.url}
        capsys.readouterr()
        assert batch(tight, "--warm-only", "--k", "100") == 0
    assert re.search(
        r"has lost \d+ of the first 6\d answers again: it is too small", capsys.readouterr().err
    )


def test_a_model_is_warmed_before_it_is_swapped_in(
    bundle: Bundle, redis_server: RedisServer, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of torch
        later = tiny_bundle(tmp_path / "later", users=20, seed=1)
    pointer = tmp_path / "active-model"
    activate(str(bundle.path), pointer)
    cache = PATIENT_CACHE | {"USHER_CACHE_URL": redis_server.url}
    with running_service(tmp_path, USHER_MODEL_POINTER=str(pointer), **cache) as service:
        assert batch(cache | {"USHER_MODEL": str(later.path)}, "--warm-only") == 0
        activate(str(later.path), pointer)

        def swapped() -> bool:
            digest: str = service.client.get("/v1/model").json()["digest"]
            return digest == later.digest

        await_condition(swapped, "the later model answers")
        for user in later.users.ids.tolist():
            answer = service.client.get(f"/v1/users/{user.decode()}/recommendations")
            assert answer.headers["X-Cache"] == "hit"
            assert answer.json()["model"]["digest"] == later.digest
