"""The ratings people give: a delta over the bundle's histories, in a Redis that keeps what it says.

Per user one hash:

    <item id>   "4.5 1700000000", the rating and when it was given; "-" where it was taken back
    @version    a random token, replaced by the same command that changes anything
    @cleared    there once the history was replaced or deleted: the bundle's no longer counts

A counter would repeat after a loss of data and old cached answers would come back to life; a token
never does, not even where a change is sent again because its reply was lost: the time is part of
it. Fields beginning with @ are ours: no item's id can. Every change is one script, so writers of
one user lose nothing of each other's, and a reader sees all of a change or nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis.exceptions import ConnectionError as LinkDown
from redis.exceptions import RedisError

from service.errors import HistoryFull, RatingsUnavailable
from service.metrics import Metrics
from service.schemas import is_id
from service.stores.pipeline import Pipeline
from service.stores.redis_link import LINK_ERRORS, Command

PREFIX = "usher:ratings:"
VERSION, CLEARED, TAKEN_BACK = b"@version", b"@cleared", b"-"
SCANNED = 1000  # keys Redis looks at in one step of a scan, which blocks it
READ_TOGETHER = 16  # whoever joins an exchange waits for the longest of its histories
MAX_GIVEN = 20_000
"""Fields a user's hash may have, ratings and those taken back together."""

# KEYS[1] the user's hash; ARGV: token, most fields, then field and value after field and value.
CHANGE = """
local added = 0
for i = 3, #ARGV, 2 do added = added + 1 - redis.call('HEXISTS', KEYS[1], ARGV[i]) end
if added > 0 and redis.call('HLEN', KEYS[1]) + added > tonumber(ARGV[2]) then return 0 end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], '@version', ARGV[1] .. now[1] .. now[2])
return 1
"""
REPLACE = "redis.call('DEL', KEYS[1]) redis.call('HSET', KEYS[1], '@cleared', '1')" + CHANGE


class Given(NamedTuple):
    """One rating; `rated_at` in Unix seconds, None of a bundle's, which does not know."""

    rating: float
    rated_at: int | None


@dataclass(frozen=True)
class Delta:
    """What a user changed: ratings by item id, None where one was taken back.

    version: None if nothing was ever changed. cleared: the bundle's history no longer counts.
    """

    version: str | None = None
    cleared: bool = False
    ratings: Mapping[str, Given | None] = field(default_factory=dict)


class RepeatingPipeline(Pipeline):
    """A pipeline for commands that may be repeated, as all of this store may."""

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return await super()._send(commands)
        except (LinkDown, ConnectionResetError, BrokenPipeError):  # a Redis that was restarted
            return await super()._send(commands)


class RatingsStore:
    """Reads and changes deltas. Raises RatingsUnavailable whenever Redis does not answer."""

    def __init__(self, redis: RepeatingPipeline, metrics: Metrics) -> None:
        self._redis = redis
        self._metrics = metrics

    async def version(self, user_id: str) -> str | None:
        """The token of the user's last change; None if there was none."""
        token = await self._ask("read", "HGET", PREFIX + user_id, VERSION)
        return _text(token) if token is not None else None

    async def read(self, user_id: str) -> Delta:
        """All a user changed, with its version, as of one moment."""
        reply = await self._ask("read", "HGETALL", PREFIX + user_id)
        return delta_of(reply)

    async def read_many(self, user_ids: Sequence[str]) -> list[Delta]:
        """What `read` says of each user, in order; READ_TOGETHER of them share an exchange."""
        deltas: list[Delta] = []
        for start in range(0, len(user_ids), READ_TOGETHER):
            together = user_ids[start : start + READ_TOGETHER]
            deltas += await asyncio.gather(*(self.read(user_id) for user_id in together))
        return deltas

    async def user_ids(self) -> set[str]:
        """Everybody who ever changed a rating; of those who first do so meanwhile, some."""
        found: set[str] = set()
        cursor: bytes = b"0"
        while True:
            reply = await self._ask("read", "SCAN", cursor, "MATCH", f"{PREFIX}*", "COUNT", SCANNED)
            cursor, names = reply
            found.update(_user_of(name) for name in names)
            if cursor == b"0":
                return found

    async def change(self, user_id: str, ratings: Mapping[str, Given | None]) -> None:
        """Give ratings, and take back those that are None; kept once this returns.

        Raises HistoryFull if the user would have changed more items than MAX_GIVEN.
        """
        await self._change(CHANGE, user_id, ratings)

    async def replace(self, user_id: str, ratings: Mapping[str, Given]) -> None:
        """Make these all a user has rated, the bundle's history included."""
        await self._change(REPLACE, user_id, ratings)

    async def close(self) -> None:
        """Close the connections nobody is using."""
        await self._redis.close()

    async def _change(self, script: str, user_id: str, ratings: Mapping[str, Given | None]) -> None:
        words = [word for item, given in ratings.items() for word in (item, _value(given))]
        done = await self._ask(
            "write", "EVAL", script, 1, PREFIX + user_id, secrets.token_hex(16), MAX_GIVEN, *words
        )
        if not done:
            raise HistoryFull(
                f"A user may change {MAX_GIVEN:,} ratings, and this one has; replace the history "
                "as a whole."
            )

    async def _ask(self, kind: str, *command: bytes | str | int) -> Any:
        """The reply to one command."""
        try:
            reply = await self._redis.ask(*command)
        except LINK_ERRORS as error:
            self._metrics.ratings_commands.labels(kind, "failed").inc()
            raise RatingsUnavailable(_explained(kind, error)) from None
        self._metrics.ratings_commands.labels(kind, "done").inc()
        return reply


def delta_of(reply: Any) -> Delta:
    """The delta in what HGETALL replies. Raises RatingsUnavailable for what is none of ours."""
    if not isinstance(reply, list) or len(reply) % 2:
        raise _foreign()
    fields = dict(zip(reply[::2], reply[1::2], strict=True))
    version, cleared = fields.pop(VERSION, None), fields.pop(CLEARED, None)
    if version is None and (fields or cleared):
        raise _foreign()
    ratings = {_text(item): _given(value) for item, value in fields.items()}
    return Delta(None if version is None else _text(version), cleared is not None, ratings)


def _user_of(name: Any) -> str:
    user_id = _text(name).removeprefix(PREFIX)
    if is_id(user_id) is None:
        raise _foreign()
    return user_id


def _value(given: Given | None) -> str | bytes:
    return TAKEN_BACK if given is None else f"{given.rating:g} {given.rated_at}"


def _given(value: Any) -> Given | None:
    if value == TAKEN_BACK:
        return None
    try:
        rating, rated_at = value.split(b" ")
        return Given(float(rating), int(rated_at))
    except (AttributeError, ValueError):
        raise _foreign() from None


def _text(value: Any) -> str:
    try:
        text: str = value.decode("ascii")
    except (AttributeError, UnicodeDecodeError):
        raise _foreign() from None
    return text


def _foreign() -> RatingsUnavailable:
    """Half a history is a wrong history."""
    return RatingsUnavailable("The ratings Redis holds something that this service did not write.")


def _explained(kind: str, error: BaseException) -> str:
    if kind == "write" and isinstance(error, RedisError | OSError):
        return "The ratings Redis did not say that it kept the change; send it again later."
    return "The ratings Redis does not answer, and an answer without it could be a wrong one."
