"""The folder's own Redis: how it is set up, who shares it, what outlives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from service.local.redis_server import (
    CACHE,
    RATINGS,
    SOCKET_PATH_BYTES,
    LocalError,
    answers,
    client_of,
    shared_redis,
    socket_path,
)

ROOT = Path(__file__).resolve().parent.parent
JOIN = """
import sys
from pathlib import Path
import redis
from service.local.redis_server import RATINGS, shared_redis
with shared_redis(RATINGS, Path(sys.argv[1])) as url:
    print(redis.Redis.from_url(url).info("server")["process_id"], flush=True)
    sys.stdin.readline()
"""


def process_of(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


def socket_of(state: Path) -> Path:
    return socket_path(state.resolve() / "redis" / "ratings")


def guest(state: Path) -> subprocess.Popen[str]:
    """Another process that uses the same server until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", JOIN, str(state)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_cache_is_bounded_and_keeps_nothing(tmp_path: Path) -> None:
    with shared_redis(CACHE, tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.config_get("maxmemory")["maxmemory"] == str(64 * 2**20)
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"
        assert client.config_get("save")["save"] == ""
        client.set("answer", "1")
    with shared_redis(CACHE, tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.get("answer") is None


def test_ratings_outlive_the_server(tmp_path: Path) -> None:
    with shared_redis(RATINGS, tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.config_get("appendfsync")["appendfsync"] == "always"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        client.hset("user", "item", "4.5")
    assert not answers(socket_of(tmp_path))
    with shared_redis(RATINGS, tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.hget("user", "item") == b"4.5"


def test_ratings_outlive_a_killed_server(tmp_path: Path) -> None:
    with shared_redis(RATINGS, tmp_path) as url, redis.Redis.from_url(url) as client:
        client.hset("user", "item", "4.5")
        os.kill(process_of(url), signal.SIGKILL)
    with shared_redis(RATINGS, tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.hget("user", "item") == b"4.5"


def test_only_this_user_may_open_the_socket(tmp_path: Path) -> None:
    with shared_redis(RATINGS, tmp_path):
        assert socket_of(tmp_path).stat().st_mode & 0o077 == 0
        assert (tmp_path / "redis" / "ratings").stat().st_mode & 0o077 == 0


def test_processes_share_one_server_and_the_last_ends_it(tmp_path: Path) -> None:
    with guest(tmp_path) as other:
        assert other.stdin is not None and other.stdout is not None
        theirs = int(other.stdout.readline())
        with shared_redis(RATINGS, tmp_path) as url:
            assert process_of(url) == theirs
            other.stdin.close()
            assert other.wait() == 0
            assert process_of(url) == theirs
    assert not answers(socket_of(tmp_path))


def test_a_server_left_behind_is_taken_over_and_ended(tmp_path: Path) -> None:
    with guest(tmp_path) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        other.kill()
    assert answers(socket_of(tmp_path))
    with shared_redis(RATINGS, tmp_path) as url:
        assert process_of(url) == theirs
    assert not answers(socket_of(tmp_path))


def test_a_long_path_has_a_short_socket(tmp_path: Path) -> None:
    state = tmp_path / ("deep" * 20) / ("er" * 20)
    with shared_redis(RATINGS, state) as url, redis.Redis.from_url(url) as client:
        assert client.ping()
    assert len(os.fsencode(socket_of(state))) <= SOCKET_PATH_BYTES
    assert list((state / "redis" / "ratings").glob("appendonly*"))


def test_a_path_with_spaces_and_signs_works(tmp_path: Path) -> None:
    with shared_redis(RATINGS, tmp_path / "a b%20#?é") as url:
        assert process_of(url) > 0


def test_a_server_that_does_not_answer_is_not_doubled(tmp_path: Path) -> None:
    with shared_redis(RATINGS, tmp_path):
        path = socket_of(tmp_path)
        path.rename(path.with_name("elsewhere"))
        with (
            pytest.raises(LocalError, match="end that redis-server"),
            shared_redis(RATINGS, tmp_path),
        ):
            pass
        path.with_name("elsewhere").rename(path)


def test_an_older_server_does_not_hide_newer_ratings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis" / "ratings" / "appendonlydir").mkdir(parents=True)
    old = tmp_path / "bin" / "redis-server"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho Redis server v=6.2.14\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")
    with pytest.raises(LocalError, match="written by Redis 7"), shared_redis(RATINGS, tmp_path):
        pass


def test_a_server_that_cannot_start_is_named(tmp_path: Path) -> None:
    path = socket_of(tmp_path)
    path.mkdir(parents=True)  # a folder where its socket should be
    with (
        pytest.raises(LocalError, match=r"ratings Redis did not start: .*redis\.log"),
        shared_redis(RATINGS, tmp_path),
    ):
        pass


def test_a_stale_socket_is_no_obstacle(tmp_path: Path) -> None:
    path = socket_of(tmp_path)
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with shared_redis(RATINGS, tmp_path), client_of(path) as client:
        assert client.ping()
