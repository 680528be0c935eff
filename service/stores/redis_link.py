"""A few connections to one Redis, each lent to one exchange at a time.

redis-py speaks the protocol; this decides who may use a connection. A command that failed, timed
out or was cancelled leaves its connection in doubt, so that connection is closed and never lent
again: a late reply can then reach nobody. Nothing is retried, and nobody waits for a free
connection: beyond the limit the command fails at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LinkDown
from redis.exceptions import InvalidResponse, RedisError, ResponseError

Command = tuple[bytes | str | int, ...]
LINK_ERRORS = (RedisError, OSError, TimeoutError)
"""What `RedisLink.ask_many` raises. Rubbish in place of a reply is a RedisError too."""


class RedisLink:
    """Asks one Redis, at `url`, with `timeout_s` for each command, connecting included."""

    def __init__(self, url: str, timeout_s: float, connections: int) -> None:
        self._pool = ConnectionPool.from_url(
            url,
            max_connections=connections,
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
            protocol=2,
        )
        self._timeout_s = timeout_s
        self._free_places = connections
        self._idle: list[AbstractConnection] = []

    async def ask_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands together and return their replies in order, as one exchange.

        An unwelcome reply is a ResponseError in its place. Raises one of LINK_ERRORS if there are
        not as many replies as commands in time.
        """
        connection = self._borrow()
        try:
            async with asyncio.timeout(self._timeout_s):
                if not connection.is_connected:
                    await self._connect(connection)
                packed = connection.pack_commands(commands)
                await connection.send_packed_command(packed, check_health=False)
                replies = [await self._reply(connection) for _ in commands]
        except BaseException as error:
            await self._drop(connection)
            if isinstance(error, LINK_ERRORS):
                await self.close()  # a restarted Redis has left the idle ones dead as well
            raise
        self._idle.append(connection)
        return replies

    async def _connect(self, connection: AbstractConnection) -> None:
        try:
            await connection.connect()
        except ResponseError as refused:  # no reply to a command: nobody's has been sent
            raise LinkDown(str(refused)) from refused

    async def _reply(self, connection: AbstractConnection) -> Any:
        try:
            return await connection.read_response(disable_decoding=True, disconnect_on_error=False)
        except ResponseError as unwelcome:  # a whole reply: the connection is good
            return unwelcome
        except (TypeError, ValueError) as error:  # what the parser makes of some rubbish
            raise InvalidResponse(str(error)) from error

    async def close(self) -> None:
        """Close the connections nobody is using."""
        while self._idle:
            await self._drop(self._idle.pop())

    async def _drop(self, connection: AbstractConnection) -> None:
        self._free_places += 1
        await connection.disconnect(nowait=True)

    def _borrow(self) -> AbstractConnection:
        if self._idle:
            return self._idle.pop()
        if self._free_places == 0:
            raise ConnectionRefusedError("every connection to Redis is in use")
        self._free_places -= 1
        connection: AbstractConnection = self._pool.make_connection()
        return connection
