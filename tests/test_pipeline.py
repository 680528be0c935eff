"""Commands that share an exchange: who gets which reply, who is spared whose trouble."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.exceptions import ResponseError

from service.stores.circuit import Circuit
from service.stores.pipeline import ExchangeFailed, Pipeline, Resting
from service.stores.redis_link import RedisLink
from tests.loop_parts import server
from tests.service_fixtures import RedisServer

PATIENT_S = 10.0


def pipeline_at(url: str, timeout_s: float = PATIENT_S, failures: int = 2) -> Pipeline:
    return Pipeline(RedisLink(url, timeout_s, 4), Circuit(failures, 60.0, time.monotonic))


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
