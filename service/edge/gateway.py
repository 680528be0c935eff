"""The gateway: every request passes here first, whatever becomes of it afterwards.

It names a request, asks for its key and bounds what it may cost before anyone looks at it (size
of the body, time), and sees to it that every error leaves as a problem document and every request
is counted by its route and logged. HEAD is answered here, as a GET whose body stays behind.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.edge.access_log import Line
from service.edge.bodies import Check, bounded_body
from service.edge.problems import ProblemResponse
from service.edge.request_ids import REQUEST_ID, RequestIds
from service.errors import BodyTooSlow, InternalError, MalformedRequest, Problem, TimedOut
from service.serving import Serving
from service.web.page import PAGE_PATHS, page

CACHE_STATE = "usher.cache"
"""Where in the scope a route notes its cache state, for the metrics."""

JSON = (b"content-type", b"application/json")

log = logging.getLogger("usher")


class _Named(NamedTuple):
    """A route, for metrics and the log, of a request that no router has seen."""

    path: str


def _unmarked(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    return (header for header in headers if header[0] != JSON[0])


class Unprefixed:
    """Mounts an application whose routes are written in full, their prefix included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as if there were no mount."""
        scope["root_path"] = ""
        await self._app(scope, receive, send)


class Gateway:
    """Wraps a worker's whole application.

    `api` answers below /v1/: it is mounted in `app` as well, for `app` to describe, but what lies
    between (a context of BentoML's, routing, two more layers against errors) would only cost time.
    `checks`: what POSTs to a path of `app` must pass, as JSON, whatever they say they are.
    """

    def __init__(
        self,
        app: ASGIApp,
        serving: Serving,
        api: ASGIApp | None = None,
        checks: Mapping[str, Check] | None = None,
    ) -> None:
        self._app = app
        self._api = app if api is None else api
        self._checks = {} if checks is None else checks
        self._serving = serving
        self._ids = RequestIds(Random())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            if self._serving.traces is None:
                await self._answer(headers, scope, receive, send)
            else:
                with self._serving.traces.request(headers):
                    await self._answer(headers, scope, receive, send)
        elif scope["type"] == "websocket":  # nothing here speaks it, and no key would be asked for
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._app(scope, receive, send)

    async def _answer(
        self, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        started = time.perf_counter()
        method = scope["method"]
        scope[REQUEST_ID] = request_id = self._ids.of(headers)
        response = _Response(send, request_id, bodiless=method == "HEAD")
        if method == "HEAD":  # in a copy, for the server looks at its own
            scope = {**scope, "method": "GET"}
        arrived = False
        settings = self._serving.settings
        limit_s = settings.request_timeout_s if settings else None
        try:
            self._serving.key_ring().check(scope["path"], headers)
            async with asyncio.timeout(limit_s):
                if method in ("POST", "PUT", "PATCH", "DELETE"):
                    check = self._checks.get(scope["path"]) if method == "POST" else None
                    if check is not None:
                        scope["route"] = _Named(scope["path"])
                        scope["headers"] = [*_unmarked(scope["headers"]), JSON]
                    receive = await bounded_body(headers, receive, check)
                arrived = True
                _check_path(scope["path"])
                await self._application(scope)(scope, receive, response.send)
        except Problem as problem:
            await response.refuse(problem, scope, receive)
        except TimeoutError:
            late = TimedOut if arrived else BodyTooSlow
            overdue = late(f"A request may take {limit_s} s, and this one took longer.")
            await response.refuse(overdue, scope, receive)
        except Exception:  # the outermost layer: a mistake of ours leaves as a problem document
            log.exception("%s %s failed, request %s", method, scope["path"], request_id)
            mistake = InternalError("The service made a mistake; its log has more.")
            await response.refuse(mistake, scope, receive)
        finally:
            self._record(method, scope, response, time.perf_counter() - started)

    def _application(self, scope: Scope) -> ASGIApp:
        """Which application answers. BentoML's own page at `/` loads a script from elsewhere."""
        path: str = scope["path"]
        if path.startswith("/v1/"):
            return self._api
        if path in PAGE_PATHS:
            scope["route"] = _Named(path)
            return page
        return self._app

    def _record(self, method: str, scope: Scope, response: _Response, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None)
        cache = scope.get(CACHE_STATE)
        metrics, access_log = self._serving.metrics, self._serving.access_log
        if metrics is not None:
            metrics.count_request(route or "none", response.status, cache or "none", seconds)
        if self._serving.traces is not None:
            self._serving.traces.describe(
                method, route, scope["path"], response.status, scope[REQUEST_ID]
            )
        if access_log is not None and access_log.wants(response.status, seconds):
            access_log.add(
                Line(
                    time.time(),
                    scope[REQUEST_ID],
                    method,
                    route,
                    scope["path"],
                    response.status,
                    cache,
                    seconds,
                    response.size,
                )
            )


class _Response:
    """Passes a response on with its request's id, and remembers how far it got."""

    def __init__(self, send: Send, request_id: str, *, bodiless: bool) -> None:
        self._send = send
        self._id = (b"x-request-id", request_id.encode())
        self._bodiless = bodiless
        self.status = 0
        self.size = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._id]
        elif not self._bodiless:  # the body of a HEAD is the server's to leave out
            self.size += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, problem: Problem, scope: Scope, receive: Receive) -> None:
        """Send a problem document, unless an answer has begun."""
        if self.status == 0:
            await ProblemResponse(problem)(scope, receive, self.send)


def _check_path(path: str) -> None:
    """Raises MalformedRequest for a line feed, over which Starlette's mounts lead astray."""
    if "\n" in path:
        raise MalformedRequest("The path holds a line feed, which no address here does.")
