"""Commands that callers have at the same moment go to Redis together and are answered together.

A busy service has many commands in one turn of its event loop: sent one by one, each costs an
exchange of its own, which is most of what a cached answer costs besides HTTP. Here the first of a
turn opens an exchange and the others join it. A caller that is cancelled takes nothing from the
others. The circuit breaker hears once of an exchange that failed, however many it carried; what to
think of a reply that did come is its caller's to say: whatever answers need not be a Redis of ours.
"""

from __future__ import annotations

import asyncio
from typing import Any

from service.stores.circuit import Circuit
from service.stores.redis_link import LINK_ERRORS, Command, RedisLink


class Resting(Exception):
    """The circuit is open: Redis was not asked."""


class ExchangeFailed(Exception):
    """There are no replies; the circuit knows."""


class Pipeline:
    """Asks over a link, which may have other users, for as long as a circuit admits it."""

    def __init__(self, link: RedisLink, circuit: Circuit) -> None:
        self._link = link
        self._circuit = circuit
        self._joined: list[tuple[Command, asyncio.Future[Any]]] = []
        self._exchanges: set[asyncio.Task[None]] = set()

    async def ask(self, *command: bytes | str | int) -> Any:
        """Send one command with the others of this turn and return its reply.

        Whoever gets a reply, or a refusal, says by `trust` or `distrust` what it was worth. Raises
        Resting, ExchangeFailed, ResponseError for a command that Redis refused.
        """
        if not self._circuit.admits():
            raise Resting
        reply = asyncio.get_running_loop().create_future()
        self._joined.append((command, reply))
        if len(self._joined) == 1:  # the task begins when all who were woken with us have joined
            exchange = asyncio.create_task(self._exchange())
            self._exchanges.add(exchange)
            exchange.add_done_callback(self._exchanges.discard)
        answer = await reply
        if isinstance(answer, Exception):
            raise answer
        return answer

    def trust(self) -> None:
        """A reply was as it should be."""
        self._circuit.succeeded()

    def distrust(self) -> None:
        """A reply was none that a Redis of ours gives."""
        self._circuit.failed()

    async def close(self) -> None:
        """Close the link's connections; exchanges under way are left to their callers."""
        await self._link.close()

    async def _exchange(self) -> None:
        joined, self._joined = self._joined, []
        replies: list[Any]
        try:
            replies = await self._link.ask_many([command for command, _ in joined])
        except LINK_ERRORS as error:
            self._circuit.failed()
            replies = [ExchangeFailed(error)] * len(joined)
        except asyncio.CancelledError:  # the loop ends, and the callers with it
            self._circuit.released()
            raise
        for (_, reply), answer in zip(joined, replies, strict=True):
            if reply.done():  # its caller was cancelled, and will say nothing of it
                self._circuit.released()
            else:
                reply.set_result(answer)
