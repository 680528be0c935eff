"""The cache where Redis is gone, full, silent, or talks rubbish."""

from __future__ import annotations

import asyncio

import pytest

from service.histories import Stamp
from service.stores.cache import CacheState, answer_key
from tests.cache_parts import KEY, OTHER, Cook, cache_at, reads
from tests.loop_parts import server
from tests.service_fixtures import RedisServer


def test_redis_killed_is_a_miss_and_restarted_a_hit_again(redis_server: RedisServer) -> None:
    async def scene() -> None:
        cache, metrics = cache_at(redis_server.url, failures=1000)
        await asyncio.gather(*(cache.get(answer_key("d", Stamp(str(n), "0"), ""), Cook())
                               for n in range(6)))  # fmt: skip
        redis_server.stop()
        assert (await cache.get(KEY, Cook())).state is CacheState.MISS
        assert reads(metrics, "failed") == 1
        redis_server.start()
        assert (await cache.get(KEY, Cook())).state is CacheState.MISS
        assert (await cache.get(KEY, Cook())).state is CacheState.HIT
        await cache.close()

    asyncio.run(scene())


def test_a_full_redis_still_serves_what_it_holds(redis_server: RedisServer) -> None:
    async def scene() -> None:
        cache, _ = cache_at(redis_server.url, failures=1)
        await cache.get(KEY, Cook())
        redis_server.command("CONFIG", "SET", "maxmemory", "1")
        assert (await cache.get(OTHER, Cook(OTHER))).state is CacheState.MISS
        assert (await cache.get(OTHER, Cook(OTHER))).state is CacheState.MISS
        assert (await cache.get(KEY, Cook())).state is CacheState.HIT
        await cache.close()

    asyncio.run(scene())


def test_a_silent_redis_costs_its_timeout_and_then_nothing() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scene() -> None:
        async with server(never) as url:
            cache, metrics = cache_at(url, timeout_s=0.02, failures=3)
            for _ in range(5):
                assert (await cache.get(KEY, Cook())).state is CacheState.MISS
            # read 1 and write 1 time out, read 2 is the third failure; then Redis is left alone
            assert reads(metrics, "failed") == 2
            assert reads(metrics, "rested") == 3
            await cache.close()

    asyncio.run(scene())


@pytest.mark.parametrize("reply", [b"$3\r\nabc\r\n", b":1\r\n"])
def test_what_answers_but_is_no_redis_of_ours_is_left_alone(reply: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(reply)
            await writer.drain()

    async def scene() -> None:
        async with server(talk) as url:
            cache, metrics = cache_at(url, timeout_s=0.5, failures=3)
            for _ in range(9):
                assert (await cache.get(KEY, Cook())).state is CacheState.MISS
            assert reads(metrics, "rested") >= 6
            await cache.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    "reply",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"\x00\xff\x00", b"$3\r\nabc\r\n", b"-ERR no\r\n", b":1\r\n", b""],
)
def test_rubbish_is_a_miss(reply: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(reply)
            await writer.drain()
            if not reply:
                return

    async def scene() -> None:
        async with server(talk) as url:
            cache, _ = cache_at(url, timeout_s=0.5, failures=1000)
            for _ in range(3):
                found = await cache.get(KEY, Cook())
                assert found == (KEY, Cook().answer, CacheState.MISS)
            await cache.close()

    asyncio.run(scene())
