"""Commands that share an exchange: who gets which reply, who is spared whose trouble."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as LinkDown
from redis.exceptions import ResponseError

from service.metrics import Metrics
from service.stores.circuit import Circuit
from service.stores.guarded import ExchangeFailed, GuardedPipeline, Resting
from service.stores.pipeline import Pipeline
from service.stores.ratings import PREFIX, Given, RatingsStore, RepeatingPipeline
from service.stores.redis_link import Command, RedisLink
from tests.loop_parts import server
from tests.service_fixtures import RedisServer

PATIENT_S = 10.0


def pipeline_at(url: str, timeout_s: float = PATIENT_S, failures: int = 2) -> GuardedPipeline:
    return GuardedPipeline(RedisLink(url, timeout_s, 4), Circuit(failures, 60.0, time.monotonic))


async def outcomes(pipeline: Pipeline, *commands: tuple[str, ...]) -> list[Any]:
    asked = (pipeline.ask(*command) for command in commands)
    return await asyncio.gather(*asked, return_exceptions=True)


def test_each_caller_gets_its_own_reply_and_its_own_refusal(redis_server: RedisServer) -> None:
    async def scene() -> None:
        pipeline = pipeline_at(redis_server.url, failures=1)
        names = [f"name{n}" for n in range(50)]
        assert set(await outcomes(pipeline, *(("SET", n, n * 2) for n in names))) == {b"OK"}
        gets = [("GET", name) for name in names]
        mixed = await outcomes(pipeline, *gets[:20], ("INCR", "name0"), *gets)
        assert isinstance(mixed.pop(20), ResponseError)
        assert mixed == [(n * 2).encode() for n in names[:20] + names]
        assert await pipeline.ask("GET", "name7") == b"name7name7"  # nor has it opened the circuit
        await pipeline.close()

    asyncio.run(scene())


def test_a_cancelled_caller_takes_nothing_from_the_others(redis_server: RedisServer) -> None:
    async def scene() -> None:
        pipeline = pipeline_at(redis_server.url)
        redis_server.command("SET", "a", "1")
        for leaving in range(3):
            for turns in range(4):  # before the exchange, and while it is under way
                asked = [asyncio.create_task(pipeline.ask("GET", "a")) for _ in range(3)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                asked[leaving].cancel()
                ended = await asyncio.gather(*asked, return_exceptions=True)
                assert [e for n, e in enumerate(ended) if n != leaving] == [b"1", b"1"]
        await pipeline.close()

    asyncio.run(scene())


def test_a_failed_exchange_is_one_failure_however_many_it_carried() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scene() -> None:
        async with server(never) as url:
            pipeline = pipeline_at(url, timeout_s=0.05, failures=2)
            for _ in range(2):
                failed = await outcomes(pipeline, *[("GET", "a")] * 5)
                assert all(isinstance(error, ExchangeFailed) for error in failed)
            with pytest.raises(Resting):
                await pipeline.ask("GET", "a")
            await pipeline.close()

    asyncio.run(scene())


def test_a_redis_that_refuses_the_connection_opens_the_circuit(redis_server: RedisServer) -> None:
    async def scene() -> None:
        pipeline = pipeline_at(f"{redis_server.url}/99", failures=2)  # there is no such database
        for _ in range(2):
            (refused,) = await outcomes(pipeline, ("GET", "a"))
            assert isinstance(refused, ExchangeFailed)
        with pytest.raises(Resting):
            await pipeline.ask("GET", "a")
        await pipeline.close()

    asyncio.run(scene())


@pytest.mark.parametrize("rubbish", [b"-MOVED 1 a\r\n", b"%1\r\n*1\r\n:1\r\n:2\r\n", b"?\r\n"])
def test_no_rubbish_leaves_a_caller_waiting(rubbish: bytes) -> None:
    async def rubbishing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(rubbish)

    async def scene() -> None:
        async with server(rubbishing) as url, asyncio.timeout(PATIENT_S / 2):
            pipeline = pipeline_at(url)
            for error in await outcomes(pipeline, ("GET", "a"), ("GET", "b")):
                assert isinstance(error, ExchangeFailed | ResponseError)
            await pipeline.close()

    asyncio.run(scene())


def test_an_error_of_many_callers_leads_each_of_them_to_itself_alone() -> None:
    async def scene() -> None:
        async with server(closing) as url:
            pipeline = Pipeline(RedisLink(url, PATIENT_S, 1))
            failed = await outcomes(pipeline, *[("GET", "a")] * 50)
            frames = traceback.extract_tb(failed[-1].__traceback__)
            assert [frame.name for frame in frames].count("ask") == 1
            await pipeline.close()

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    asyncio.run(scene())


class Counted(RedisLink):
    """A link that knows how many exchanges it had, and how many at once; each takes its time."""

    def __init__(self, url: str, connections: int) -> None:
        super().__init__(url, PATIENT_S, connections)
        self.carried: list[int] = []
        self.going = asyncio.Event()
        self.open = 0
        self.most_open = 0

    async def ask_many(self, commands: Sequence[Command]) -> list[Any]:
        self.carried.append(len(commands))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await self.going.wait()
        replies = await super().ask_many(commands)
        self.open -= 1
        return replies


def test_beyond_what_may_be_under_way_callers_join_the_next_exchange(
    redis_server: RedisServer,
) -> None:
    async def scene() -> None:
        redis_server.command("SET", "a", "1")
        link = Counted(redis_server.url, 2)
        pipeline = Pipeline(link, at_once=2)
        asked = []
        for _ in range(5):
            asked += [asyncio.create_task(pipeline.ask("GET", "a")) for _ in range(3)]
            for _ in range(5):
                await asyncio.sleep(0)
        assert link.carried == [3, 3]
        link.going.set()
        assert await asyncio.gather(*asked) == [b"1"] * 15
        assert link.carried == [3, 3, 9]
        assert link.most_open == 2
        await pipeline.close()

    asyncio.run(scene())


def test_the_ratings_of_many_users_are_a_few_exchanges(redis_server: RedisServer) -> None:
    async def scene() -> None:
        link = Counted(redis_server.url, 1)
        link.going.set()
        store = RatingsStore(RepeatingPipeline(link, 1), Metrics(CollectorRegistry()))
        users = [f"user{n}" for n in range(100)]
        await store.change(users[7], {"an-item": Given(4.0, 1_700_000_000)})
        deltas = await store.read_many(users)
        assert [n for n, delta in enumerate(deltas) if delta.ratings] == [7]
        assert link.carried == [1, 16, 16, 16, 16, 16, 16, 4]
        await store.close()

    asyncio.run(scene())


def test_a_change_that_was_sent_again_has_a_version_of_its_own(redis_server: RedisServer) -> None:
    """What was cached between the two must not count once others have changed something too."""
    tokens: list[Any] = []

    class Losing(RedisLink):
        """Loses the first replies after Redis has done as it was told."""

        async def ask_many(self, commands: Sequence[Command]) -> list[Any]:
            replies = await super().ask_many(commands)
            tokens.append(redis_server.command("HGET", PREFIX + "u", "@version"))
            if len(tokens) == 1:
                raise LinkDown("lost")
            return replies

    async def scene() -> None:
        redis = RepeatingPipeline(Losing(redis_server.url, PATIENT_S, 1), 1)
        store = RatingsStore(redis, Metrics(CollectorRegistry()))
        given = {"an-item": Given(4.0, 1_700_000_000)}
        await store.change("u", given)
        first, again = tokens
        assert first != again
        assert (await store.read("u")).ratings == given
        await store.close()

    asyncio.run(scene())


def test_what_may_be_repeated_is_after_a_restart(redis_server: RedisServer) -> None:
    async def scene() -> None:
        redis = RepeatingPipeline(RedisLink(redis_server.url, PATIENT_S, 1), 1)
        assert await redis.ask("SET", "a", "1") == b"OK"
        redis_server.command("CLIENT", "KILL", "TYPE", "normal")
        assert await redis.ask("GET", "a") == b"1"
        await redis.close()

    asyncio.run(scene())
