"""A pipeline that leaves a Redis alone while it is in trouble: that of the cache.

The circuit breaker hears once of an exchange that failed, however many it carried; what to think of
a reply that did come is its caller's to say: whatever answers need not be a Redis of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from service.stores.circuit import Circuit
from service.stores.pipeline import Pipeline
from service.stores.redis_link import LINK_ERRORS, Command, RedisLink


class Resting(Exception):
    """The circuit is open: Redis was not asked."""


class ExchangeFailed(Exception):
    """There is no reply; the circuit knows."""


class GuardedPipeline(Pipeline):
    """Asks for as long as a circuit admits it; nobody waits for a free connection."""

    def __init__(self, link: RedisLink, circuit: Circuit) -> None:
        super().__init__(link)
        self._circuit = circuit

    async def ask(self, *command: bytes | str | int) -> Any:
        """As `Pipeline.ask`; whoever gets a reply, or a refusal, says what it was worth.

        Says it by `trust` or `distrust`. Raises Resting, ExchangeFailed, ResponseError for a
        command that Redis refused.
        """
        if not self._circuit.admits():
            raise Resting
        try:
            return await super().ask(*command)
        except ResponseError:
            raise
        except LINK_ERRORS as error:
            raise ExchangeFailed from error
        except asyncio.CancelledError:  # this caller will say nothing of the reply
            self._circuit.released()
            raise

    def trust(self) -> None:
        """A reply was as it should be."""
        self._circuit.succeeded()

    def distrust(self) -> None:
        """A reply was none that a Redis of ours gives."""
        self._circuit.failed()

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return await super()._send(commands)
        except LINK_ERRORS:
            self._circuit.failed()
            raise
