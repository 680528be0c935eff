"""The cache with a real Redis: keys, entries, and one computation for many callers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.histories import Stamp
from service.metrics import Metrics
from service.schemas import Selection
from service.stores.cache import AnswerCache, CacheState, Key, answer_key
from service.stores.circuit import Circuit
from service.stores.guarded import GuardedPipeline
from service.stores.redis_link import RedisLink
from tests.cache_parts import KEY, OTHER, PATIENT_S, Cook, cache_at, reads
from tests.loop_parts import until
from tests.service_fixtures import RedisServer


def writes(metrics: Metrics, outcome: str) -> float:
    counted: float = metrics.cache_writes.labels(outcome)._value.get()
    return counted


# ---- keys

canonical = st.builds(
    Selection,
    k=st.integers(1, 100),
    exclude=st.lists(st.text("abc._-1", min_size=1, max_size=4), max_size=3).map(tuple),
    genre=st.lists(st.text(max_size=4), max_size=3).map(tuple),
    year_min=st.one_of(st.none(), st.integers(0, 2000)),
    year_max=st.one_of(st.none(), st.integers(2000, 9999)),
    include_seen=st.booleans(),
)
owners = st.one_of(st.none(), st.text("abc._-1", min_size=1, max_size=6))
parts = st.tuples(
    st.text("0123456789abcdef", min_size=4, max_size=4),
    owners,
    st.text("0a", min_size=1),
    canonical,
)


def meaning(selection: Selection) -> tuple[object, ...]:
    return (
        selection.k,
        frozenset(selection.exclude),
        frozenset(selection.genre),
        selection.year_min,
        selection.year_max,
        selection.include_seen,
    )


@given(one=parts, other=parts)
def test_keys_are_equal_exactly_if_everything_an_answer_depends_on_is(
    one: tuple[str, str | None, str, Selection], other: tuple[str, str | None, str, Selection]
) -> None:
    keys = [answer_key(d, Stamp(owner, v), s.canonical) for d, owner, v, s in (one, other)]
    same = (*one[:3], meaning(one[3])) == (*other[:3], meaning(other[3]))
    assert (keys[0] == keys[1]) is same


@given(selection=canonical, seed=st.integers(0, 99))
def test_order_and_repetition_do_not_change_a_key(selection: Selection, seed: int) -> None:
    shuffled = random.Random(seed).sample(selection.genre, len(selection.genre))
    again = selection.model_copy(update={"genre": (*shuffled, *selection.genre)})
    fresh = Selection.model_validate(again.model_dump())
    assert fresh.canonical == selection.canonical


# ---- a Redis that works


def test_the_second_answer_comes_from_the_cache(redis_server: RedisServer) -> None:
    async def scene() -> None:
        cache, _ = cache_at(redis_server.url)
        cook = Cook()
        assert await cache.get(KEY, cook) == (KEY, cook.answer, CacheState.MISS)
        assert await cache.get(KEY, cook) == (KEY, cook.answer, CacheState.HIT)
        assert cook.calls == 1
        await cache.close()

    asyncio.run(scene())


def test_without_a_redis_the_cache_is_off() -> None:
    async def scene() -> None:
        cache, _ = cache_at(None)
        cook = Cook()
        assert await cache.get(KEY, cook) == (KEY, cook.answer, CacheState.OFF)
        assert await cache.get(KEY, cook) == (KEY, cook.answer, CacheState.OFF)
        assert cook.calls == 2

    asyncio.run(scene())


def test_entries_live_their_time_less_a_tenth_at_most(redis_server: RedisServer) -> None:
    async def scene() -> None:
        cache, _ = cache_at(redis_server.url)
        for user in range(30):
            key = answer_key("d", Stamp(str(user), "0"), "")
            await cache.get(key, Cook(key))
            left = int(redis_server.command("TTL", key.name)[1:])
            assert 895 <= left <= 1000
        await cache.close()

    asyncio.run(scene())


def test_an_answer_is_kept_under_the_key_it_was_made_for(redis_server: RedisServer) -> None:
    """The history moved on between the look-up and the computation."""

    async def scene() -> None:
        cache, _ = cache_at(redis_server.url)
        newer = answer_key("d" * 64, Stamp("1", "f00d"), Selection().canonical)
        moved = await cache.get(KEY, Cook(newer, b"new"))
        assert moved == (newer, b"new", CacheState.MISS)
        assert (await cache.get(KEY, Cook(KEY, b"old"))).state is CacheState.MISS
        assert await cache.get(newer, Cook()) == (newer, b"new", CacheState.HIT)
        await cache.close()

    asyncio.run(scene())


@pytest.mark.parametrize("damage", ["another key's", "cut short", "rubbish", "empty", "a list"])
def test_a_value_that_is_not_the_keys_own_is_a_miss(redis_server: RedisServer, damage: str) -> None:
    async def scene() -> None:
        cache, metrics = cache_at(redis_server.url)
        await cache.get(KEY, Cook(KEY, b"mine"))
        await cache.get(OTHER, Cook(OTHER, b"theirs"))
        if damage == "another key's":
            redis_server.command("COPY", OTHER.name, KEY.name, "REPLACE")
        elif damage == "cut short":
            value = redis_server.command("GET", KEY.name).split(b"\r\n", 1)[1][:-3]
            redis_server.command("SET", KEY.name, value)
        elif damage == "a list":
            redis_server.command("DEL", KEY.name)
            redis_server.command("RPUSH", KEY.name, "mine")
        else:
            redis_server.command("SET", KEY.name, "" if damage == "empty" else "x" * 100)
        assert await cache.get(KEY, Cook(KEY, b"mine")) == (KEY, b"mine", CacheState.MISS)
        assert reads(metrics, "failed" if damage == "a list" else "foreign") == 1
        if damage != "a list":
            assert (await cache.get(KEY, Cook())).state is CacheState.HIT
        await cache.close()

    asyncio.run(scene())


# ---- one computation for many callers


def test_callers_of_one_key_share_one_computation(redis_server: RedisServer) -> None:
    async def scene() -> None:
        cache, _ = cache_at(redis_server.url)
        cook = Cook()
        cook.go.clear()
        callers = [asyncio.create_task(cache.get(KEY, cook)) for _ in range(8)]
        other = asyncio.create_task(cache.get(OTHER, Cook(OTHER, b"theirs")))
        assert (await other).answer == b"theirs"
        await until(lambda: cook.calls == 1)
        cook.go.set()
        assert {found.answer for found in await asyncio.gather(*callers)} == {cook.answer}
        assert cook.calls == 1
        await cache.close()

    asyncio.run(scene())


def test_a_cancelled_leader_does_not_cancel_its_followers() -> None:
    async def scene() -> None:
        cache, _ = cache_at(None)
        cook = Cook()
        cook.go.clear()
        leader = asyncio.create_task(cache.get(KEY, cook))
        await until(lambda: cook.calls == 1)
        follower = asyncio.create_task(cache.get(KEY, cook))
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)
        assert leader.cancelled()
        cook.go.set()
        assert (await follower).answer == cook.answer
        assert cook.calls == 1

    asyncio.run(scene())


def test_an_error_reaches_every_caller_and_is_not_kept(redis_server: RedisServer) -> None:
    async def fail() -> tuple[Key, bytes]:
        raise LookupError("no such item")

    async def scene() -> None:
        cache, _ = cache_at(redis_server.url)
        outcomes = await asyncio.gather(
            cache.get(KEY, fail), cache.get(KEY, fail), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [LookupError, LookupError]
        assert (await cache.get(KEY, Cook())).state is CacheState.MISS
        await cache.close()

    asyncio.run(scene())


def test_what_is_asked_or_finished_together_is_one_exchange(redis_server: RedisServer) -> None:
    exchanges: list[tuple[object, int]] = []

    class Counted(RedisLink):
        async def ask_many(self, commands: Sequence[tuple[bytes | str | int, ...]]) -> list[Any]:
            exchanges.append((commands[0][0], len(commands)))
            return await super().ask_many(commands)

    async def scene() -> None:
        metrics = Metrics(CollectorRegistry())
        link = Counted(redis_server.url, PATIENT_S, 64)
        redis = GuardedPipeline(link, Circuit(3, 60.0, time.monotonic))
        cache = AnswerCache(redis, metrics, 1000, random.Random(0))
        keys = [answer_key("d", Stamp(f"user{n}", "1"), "k=10") for n in range(40)]
        batch = asyncio.Event()

        async def ask(key: Key) -> bytes:
            async def compute() -> tuple[Key, bytes]:
                await batch.wait()
                return key, key.digest * 10

            return (await cache.get(key, compute)).answer

        asked = [asyncio.create_task(ask(key)) for key in keys]
        await until(lambda: reads(metrics, "miss") == len(keys))
        batch.set()
        answers = await asyncio.gather(*asked)
        assert answers == [key.digest * 10 for key in keys]
        assert exchanges == [("GET", len(keys)), ("SET", len(keys))]
        assert writes(metrics, "stored") == len(keys)
        for key in keys:
            (kept,) = await link.ask_many([("GET", key.name)])
            assert kept.endswith(key.digest * 10)
        await cache.close()

    asyncio.run(scene())
