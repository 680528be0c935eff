"""What a request may carry: bodies are counted while they arrive and handed on whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from starlette.types import Message, Receive

from service.errors import BodyTooLarge

MAX_BODY = 1_000_000
DRAINED_BODY = 16_000_000
"""How much of a body that is too large is still read: a client that sends its whole request
before it reads the answer then gets to read it. Beyond that the connection is closed."""


Check = Callable[[bytes], None]
"""Raises a Problem for a body that must not be handed on."""


async def bounded_body(
    headers: Mapping[bytes, bytes], receive: Receive, check: Check | None = None
) -> Receive:
    """Read the body and hand it on whole. Raises BodyTooLarge, counting what really arrives."""
    parts: list[bytes] = []
    size = 0
    if _declared_length(headers) > DRAINED_BODY:
        raise _too_large(closing=True)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return _replay(message, receive)
        part = message.get("body", b"")
        size += len(part)
        if size <= MAX_BODY:
            parts.append(part)
        elif size > DRAINED_BODY:
            raise _too_large(closing=True)
        if not message.get("more_body", False):
            break
    if size > MAX_BODY:
        raise _too_large(closing=False)
    body = b"".join(parts)
    if check is not None:
        check(body)
    return _replay({"type": "http.request", "body": body, "more_body": False}, receive)


def _declared_length(headers: Mapping[bytes, bytes]) -> int:
    value = headers.get(b"content-length", b"")
    return int(value) if value.isdigit() and len(value) < 20 else 0


def _too_large(*, closing: bool) -> BodyTooLarge:
    return BodyTooLarge(f"A body may have {MAX_BODY} bytes, and this one has more.", closing)


def _replay(first: MutableMapping[str, Any], receive: Receive) -> Receive:
    """A `receive` that gives `first`, then whatever the server says."""
    pending = [first]

    async def next_message() -> Message:
        return pending.pop() if pending else await receive()

    return next_message
