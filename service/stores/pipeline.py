"""Commands that callers have at the same moment go to Redis together and are answered together.

A busy service has many commands in one turn of its event loop: sent one by one, each costs an
exchange of its own, which is most of what a cached answer costs besides HTTP. Here the first of a
turn opens an exchange and the others join it. A caller that is cancelled takes nothing from the
others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from service.stores.redis_link import LINK_ERRORS, Command, RedisLink


class Pipeline:
    """Asks over a link, which may have other users."""

    def __init__(self, link: RedisLink, at_once: int | None = None) -> None:
        """at_once: exchanges beyond these wait, and others join them; None: the link refuses."""
        self._link = link
        self._places: AbstractAsyncContextManager[None] = (
            nullcontext() if at_once is None else asyncio.Semaphore(at_once)
        )
        self._joined: list[tuple[Command, asyncio.Future[Any]]] = []
        self._exchanges: set[asyncio.Task[None]] = set()

    async def ask(self, *command: bytes | str | int) -> Any:
        """Send one command with the others of this turn and return its reply.

        Raises one of LINK_ERRORS: ResponseError for a command that Redis refused, another if the
        exchange failed.
        """
        reply = asyncio.get_running_loop().create_future()
        self._joined.append((command, reply))
        if len(self._joined) == 1:  # the task begins when all who were woken with us have joined
            exchange = asyncio.create_task(self._exchange())
            self._exchanges.add(exchange)
            exchange.add_done_callback(self._exchanges.discard)
        answer = await reply
        if isinstance(answer, Exception):  # others raise it too, each with a way of its own to it
            raise answer.with_traceback(None)
        return answer

    async def close(self) -> None:
        """Close the link's connections; exchanges under way are left to their callers."""
        await self._link.close()

    async def _exchange(self) -> None:
        async with self._places:
            joined, self._joined = self._joined, []
            replies: Sequence[Any]
            try:
                replies = await self._send([command for command, _ in joined])
            except LINK_ERRORS as error:
                replies = [error] * len(joined)
        for (_, reply), answer in zip(joined, replies, strict=True):
            if not reply.done():  # else its caller was cancelled
                reply.set_result(answer)

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands in order; a refusal stands in its place. Raises LINK_ERRORS."""
        return await self._link.ask_many(commands)
