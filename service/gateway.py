"""The gateway: every request passes here first, whatever becomes of it afterwards.

It bounds what a request may cost before anyone looks at it (size of the body, time), and sees to
it that every error leaves as a problem document and every request is counted by its route.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    PROBLEM_JSON,
    BodyTooLarge,
    BodyTooSlow,
    InternalError,
    MalformedRequest,
    Problem,
    TimedOut,
)
from service.serving import Serving

MAX_BODY = 1_000_000
DRAINED_BODY = 16_000_000
"""How much of a body that is too large is still read: a client that sends its whole request
before it reads the answer then gets to read it. Beyond that the connection is closed."""
CACHE_STATE = "usher.cache"
"""Where in the scope a route notes its cache state, for the metrics."""

_DESCRIPTION = RedirectResponse("/v1/openapi.json")
"""What `/` answers: BentoML's own page there loads a script from elsewhere."""

log = logging.getLogger("usher")


class Unprefixed:
    """Mounts an application whose routes are written in full, their prefix included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as if there were no mount."""
        scope["root_path"] = ""
        await self._app(scope, receive, send)


class Gateway:
    """Wraps a worker's whole application."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self._app = app
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        response = _Response(send)
        arrived = False
        settings = self._serving.settings
        limit_s = settings.request_timeout_s if settings else None
        try:
            async with asyncio.timeout(limit_s):
                if scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
                    receive = await _bounded_body(scope, receive)
                arrived = True
                _check_path(scope["path"])
                app = _DESCRIPTION if scope["path"] == "/" else self._app
                await app(scope, receive, response.send)
        except Problem as problem:
            await response.refuse(problem)
        except TimeoutError:
            late = TimedOut if arrived else BodyTooSlow
            await response.refuse(
                late(f"A request may take {limit_s} s, and this one took longer.")
            )
        except Exception:  # the outermost layer: a mistake of ours leaves as a problem document
            log.exception("%s %s failed", scope["method"], scope["path"])
            await response.refuse(InternalError("The service made a mistake; its log has more."))
        finally:
            self._count(scope, response.status, time.perf_counter() - started)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        metrics = self._serving.metrics
        if metrics is not None:
            route = getattr(scope.get("route"), "path", "none")
            cache = str(scope.get(CACHE_STATE, "none"))
            metrics.requests.labels(route, str(status), cache).inc()
            metrics.request_seconds.labels(route, cache).observe(seconds)


class _Response:
    """Passes a response on and remembers how far it got."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Send a problem document, unless an answer has begun."""
        if self.status == 0:
            await send_problem(problem, self.send)


async def send_problem(problem: Problem, send: Send) -> None:
    """Send a problem document as the whole response."""
    body = problem.body()
    headers = {"Content-Type": PROBLEM_JSON, "Content-Length": str(len(body))} | problem.headers
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


def _check_path(path: str) -> None:
    """Raises MalformedRequest for a line feed, over which Starlette's mounts lead astray."""
    if "\n" in path:
        raise MalformedRequest("The path holds a line feed, which no address here does.")


async def _bounded_body(scope: Scope, receive: Receive) -> Receive:
    """Read the body and hand it on whole. Raises BodyTooLarge, counting what really arrives."""
    parts: list[bytes] = []
    size = 0
    if _declared_length(scope) > DRAINED_BODY:
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
    return _replay({"type": "http.request", "body": b"".join(parts), "more_body": False}, receive)


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and len(value) < 20:
            return int(value)
    return 0


def _too_large(*, closing: bool) -> BodyTooLarge:
    return BodyTooLarge(f"A body may have {MAX_BODY} bytes, and this one has more.", closing)


def _replay(first: MutableMapping[str, Any], receive: Receive) -> Receive:
    """A `receive` that gives `first`, then whatever the server says."""
    pending = [first]

    async def next_message() -> Message:
        return pending.pop() if pending else await receive()

    return next_message
