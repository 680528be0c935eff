"""The link to one Redis and its circuit breaker, against servers that are there, silent or late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ResponseError

from service.stores.circuit import Circuit
from service.stores.redis_link import LINK_ERRORS, RedisLink
from tests.loop_parts import server
from tests.service_fixtures import RedisServer

PATIENT_S = 10.0


async def ask(link: RedisLink, *command: str) -> Any:
    """The reply to one command by itself; a refusal is raised."""
    (reply,) = await link.ask_many([command])
    if isinstance(reply, ResponseError):
        raise reply
    return reply


def test_one_refused_command_leaves_the_others_of_its_exchange(redis_server: RedisServer) -> None:
    async def scene() -> None:
        link = RedisLink(redis_server.url, PATIENT_S, 1)
        replies = await link.ask_many([("SET", "a", "1"), ("INCR", "a", "b"), ("GET", "a")])
        assert replies[0] == b"OK"
        assert isinstance(replies[1], ResponseError)
        assert replies[2] == b"1"
        assert await ask(link, "GET", "a") == b"1"  # the one connection is in step still
        with pytest.raises(ResponseError):
            await ask(link, "INCR", "a", "b")
        await link.close()

    asyncio.run(scene())


def test_a_late_reply_reaches_nobody(redis_server: RedisServer) -> None:
    """A command is cancelled while its reply is on the way; the next caller gets its own."""

    async def scene() -> None:
        link = RedisLink(redis_server.url, PATIENT_S, connections=1)
        await ask(link, "SET", "mine", "m")
        await ask(link, "SET", "theirs", "t")
        for _ in range(20):
            asking = asyncio.create_task(ask(link, "GET", "theirs"))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert await ask(link, "GET", "mine") == b"m"
        await link.close()

    asyncio.run(scene())


def test_beyond_its_connections_a_link_refuses_at_once() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scene() -> None:
        async with server(never) as url:
            link = RedisLink(url, 0.2, connections=2)
            asked = [asyncio.create_task(ask(link, "GET", "a")) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(LINK_ERRORS, match="every connection"):
                await ask(link, "GET", "b")
            for outcome in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(outcome, LINK_ERRORS)
            with pytest.raises(TimeoutError):  # there is room again
                await ask(link, "GET", "c")

    asyncio.run(scene())


# ---- the circuit breaker


def test_the_circuit_opens_rests_and_tries_with_one_caller() -> None:
    now = [0.0]
    circuit = Circuit(failures=2, rest_s=10, clock=lambda: now[0])
    circuit.failed()
    circuit.succeeded()
    circuit.failed()
    assert circuit.admits(), "failures with a success between them are not in a row"
    circuit.failed()
    assert not circuit.admits()
    now[0] = 10.0
    assert circuit.admits()
    assert not circuit.admits(), "only one caller tries"
    circuit.failed()
    now[0] = 19.9
    assert not circuit.admits()
    now[0] = 20.0
    assert circuit.admits()
    circuit.released()
    assert circuit.admits(), "the one who tried has left; the next may"
    circuit.succeeded()
    assert circuit.admits()
    assert circuit.admits()
