"""100,000 random requests: no 500, no traceback in the log, no unbounded work: `make fuzz`.

Seeded: paths, query strings, headers and bodies that are right but for a part, or wrong altogether,
over raw sockets to a real service with both Redis. Exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import quote

import psutil
import uvloop

from models.bundle import Bundle
from tests.benchmarks.serving.bundles import SMALL, bundle_of
from tests.benchmarks.soak.faults import DURABLE
from tests.service_fixtures import RedisServer, running_service
from training.code_digest import ROOT

CONNECTIONS = 16
SLOWEST_S = 10.0
"""No request may take longer: the service's own limit."""
GROWTH_MB = 32.0
EXPECTED = frozenset({200, 204, 304, 307, 400, 404, 405, 411, 413, 415, 422, 503})

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "BREW")
ROUTES = (
    ("GET", "/v1/users/{}/recommendations"), ("GET", "/v1/users/{}/recommendations"),
    ("GET", "/v1/users/{}/ratings"), ("PUT", "/v1/users/{}/ratings"),
    ("DELETE", "/v1/users/{}/ratings"), ("GET", "/v1/users/{}/ratings/{}"),
    ("PUT", "/v1/users/{}/ratings/{}"), ("DELETE", "/v1/users/{}/ratings/{}"),
    ("GET", "/v1/users/{}/recommendations/{}/explanation"), ("POST", "/v1/recommendations"),
    ("POST", "/v1/recommendations"), ("POST", "/v1/predictions"), ("GET", "/v1/items"),
    ("GET", "/v1/users"), ("POST", "/v1/explanations"), ("GET", "/page/app.js"),
    ("GET", "/v1/items/{}"), ("GET", "/v1/items/{}/similar"), ("GET", "/v1/model"),
    ("GET", "/v1/openapi.json"), ("GET", "/metrics"), ("GET", "/livez"), ("GET", "/readyz"),
    ("GET", "/"), ("POST", "/recommend"), ("GET", "/docs.json"), ("GET", "/{}"),
    ("GET", "/v1/{}/{}"),
)  # fmt: skip
NAMES = (
    "k", "exclude", "genre", "year_min", "year_max", "include_seen", "query", "limit", "offset",
    "user_id", "user_ids", "ratings", "item_ids", "item_id", "rating", "seen",
)  # fmt: skip
ODD = (
    "", "0", "-1", "1", "10", "100", "101", "1e309", "NaN", "Infinity", "null", "true", "[]", "{}",
    "9" * 400, "\x00", "\n", "\r\nX: y", "%", "%00", "%ff", "../../etc/passwd", "é", "\U0001f600",
    "a" * 129, "a" * 5000, "'; DROP", "<script>", "Comedy", "1995", "\ud800",
)  # fmt: skip


class Fuzzer:
    """Draws requests."""

    def __init__(self, seed: int, users: list[str], items: list[str], levels: list[float]) -> None:
        self.rng = random.Random(seed)
        self.users = users
        self.items = items
        self.levels = levels

    def request(self) -> bytes:
        """One request as it travels, its connection to be kept."""
        method, path = self.rng.choice(ROUTES)
        if self.rng.random() < 0.1:
            method = self.rng.choice(METHODS)
        target = self.filled(path) + self.query()
        body = (
            self.body() if method in ("POST", "PUT", "PATCH") or self.rng.random() < 0.02 else b""
        )
        headers = [f"Host: 127.0.0.1:{self.rng.randrange(65536)}"]
        if body or method in ("POST", "PUT", "PATCH"):
            headers.append(f"Content-Length: {len(body)}")
        if self.rng.random() < 0.8:
            kinds = ("application/json", "application/json", "text/plain", "multipart/form-data")
            headers.append(f"Content-Type: {self.rng.choice(kinds)}")
        if self.rng.random() < 0.2:
            names = ("X-Request-ID", "Authorization", "X-API-Key", "If-None-Match", "traceparent")
            value = (
                self.word().encode("ascii", "ignore").decode().replace("\r", "").replace("\n", "")
            )
            headers.append(f"{self.rng.choice(names)}: {value.replace(chr(0), '')[:200]}")
        head = f"{method} {target} HTTP/1.1\r\n" + "\r\n".join(headers) + "\r\n\r\n"
        return head.encode("latin-1", "replace") + body

    def filled(self, path: str) -> str:
        """A path with ids that may be right."""
        while "{}" in path:
            path = path.replace("{}", self._escaped(self.identifier()), 1)
        return path

    def query(self) -> str:
        """Often none; otherwise names of ours or not, values right or not, or mere bytes."""
        kind = self.rng.random()
        if kind < 0.4:
            return ""
        if kind < 0.45:
            return "?" + self._escaped(self.word())
        pairs = [
            f"{self._escaped(self.rng.choice(NAMES))}={self._escaped(self.word())}"
            for _ in range(self.rng.choice((1, 1, 2, 3, 50)))
        ]
        return "?" + "&".join(pairs)

    def body(self) -> bytes:
        """JSON that is right but for a part, JSON of any kind, or mere bytes."""
        kind = self.rng.random()
        if kind < 0.1:
            return self.rng.randbytes(self.rng.choice((0, 1, 10, 1000, 100_000)))
        if kind < 0.15:
            return b"[" * self.rng.choice((10, 1000, 100_000))
        text = json.dumps(self.document() if kind < 0.7 else self.value(3))
        if self.rng.random() < 0.2:  # cut or changed somewhere
            place = self.rng.randrange(len(text) + 1)
            text = (
                text[:place] + self.rng.choice(("", ",", "}", '"', "\\ud800")) + text[place + 1 :]
            )
        return text.encode("utf-8", "surrogatepass")

    def document(self) -> dict[str, Any]:
        """A body one of the routes takes, a part of which may be wrong."""
        rated = [
            {"item_id": self.identifier(), "rating": self.rng.choice([*self.levels, 9.0, -1.0])}
            for _ in range(self.rng.choice((0, 1, 3, 20, 300)))
        ]
        document: dict[str, Any] = self.rng.choice(
            (
                {"ratings": rated, "k": 10},
                {"user_ids": [self.identifier() for _ in range(5)], "k": 3},
                {"user_id": self.identifier(), "item_ids": self.rng.sample(self.items, 5)},
                {"rating": self.rng.choice(self.levels)},
                {"user_id": self.identifier(), "k": 5},
            )
        )
        if self.rng.random() < 0.5:
            document[self.rng.choice(NAMES)] = self.value(2)
        return document

    def value(self, depth: int) -> Any:
        """Any JSON value."""
        makers: list[Callable[[], Any]] = [
            lambda: None, lambda: self.rng.random() < 0.5, lambda: self.rng.randint(-5, 2000),
            lambda: self.rng.choice((1e308, -0.0, 10**30, 0.1, float("nan"), float("inf"))),
            self.word,
        ]  # fmt: skip
        if depth:
            makers += [
                lambda: [self.value(depth - 1) for _ in range(self.rng.choice((0, 2, 30)))],
                lambda: {self.word(): self.value(depth - 1) for _ in range(3)},
            ]
        return self.rng.choice(makers)()

    def identifier(self) -> str:
        """Mostly an id there is."""
        kind = self.rng.random()
        if kind < 0.7:
            return self.rng.choice(self.users if kind < 0.35 else self.items)
        return self.word()

    def word(self) -> str:
        """Text of an odd kind."""
        if self.rng.random() < 0.7:
            return self.rng.choice(ODD)
        return "".join(
            chr(self.rng.randrange(1, 0x3000)) for _ in range(self.rng.choice((1, 5, 60)))
        )

    def _escaped(self, text: str) -> str:
        if self.rng.random() < 0.9:
            return quote(text.encode("utf-8", "surrogatepass"), safe="")
        return "".join(c for c in text if c not in "\r\n \x00") or "x"


class Seen:
    """What came back."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.slowest_s = 0.0
        self.wrong: list[str] = []

    def note(self, request: bytes, status: int, seconds: float) -> None:
        """One answer."""
        self.statuses[status] += 1
        self.slowest_s = max(self.slowest_s, seconds)
        if status not in EXPECTED:
            self.wrong.append(f"{status} to {request[:300]!r}")
        if seconds > SLOWEST_S:
            self.wrong.append(f"{seconds:.1f} s for {request[:300]!r}")


async def ask_many(port: int, fuzzer: Fuzzer, count: int, seen: Seen) -> None:
    """One connection's requests; a connection that the service closes is opened anew."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        request = fuzzer.request()
        began = perf_counter()
        try:
            writer.write(request)
            status, stays = await _status(reader, bodiless=request.startswith(b"HEAD"))
        except (ConnectionError, asyncio.IncompleteReadError):
            status, stays = 0, False
        if status:
            seen.note(request, status, perf_counter() - began)
        else:  # closed without a word: allowed for what is no HTTP at all, so it has to be up still
            seen.statuses[0] += 1
        if not stays:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def _status(reader: asyncio.StreamReader, *, bodiless: bool) -> tuple[int, bool]:
    """The status of an answer whose body was read, and whether the connection stays."""
    head = await reader.readuntil(b"\r\n\r\n")
    lowered, status = head.lower(), int(head.split(b" ", 2)[1])
    if b"content-length:" in lowered and not bodiless and status not in (204, 304):
        _, _, rest = lowered.partition(b"content-length:")
        await reader.readexactly(int(rest.partition(b"\r\n")[0]))
    elif b"transfer-encoding: chunked" in lowered and not bodiless:
        while (size := int((await reader.readuntil(b"\r\n")).strip(), 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    return status, b"connection: close" not in lowered


async def fuzz(port: int, fuzzer: Fuzzer, requests: int, seen: Seen) -> None:
    """So many requests, on several connections."""
    each = -(-requests // CONNECTIONS)
    await asyncio.gather(*(ask_many(port, fuzzer, each, seen) for _ in range(CONNECTIONS)))


def run(requests: int, seed: int, bundle: Bundle) -> list[str]:
    """Start everything, ask, and say what came back; what was wrong."""
    users = [user.decode() for user in bundle.users.ids[:300]]
    levels = bundle.manifest.rating_scale.levels.tolist()
    fuzzer = Fuzzer(seed, users, list(bundle.catalog.ids[:2000]), levels)
    with tempfile.TemporaryDirectory(prefix="usher-fuzz-") as name:
        folder = Path(name)
        for made in ("cache", "ratings"):
            (folder / made).mkdir()
        cache, ratings = RedisServer(folder / "cache"), RedisServer(folder / "ratings")
        cache.start()
        ratings.start(*DURABLE)
        try:
            with running_service(
                folder,
                USHER_MODEL=str(bundle.path), USHER_CACHE_URL=cache.url,
                USHER_RATINGS_URL=ratings.url, USHER_API_KEYS="",
            ) as service:  # fmt: skip
                port = int(service.url.rsplit(":", 1)[1])
                seen, began = Seen(), perf_counter()
                uvloop.run(fuzz(port, fuzzer, requests // 5, seen))  # fills what is kept of use
                before = _rss_mb(service.process.pid)
                uvloop.run(fuzz(port, fuzzer, requests - requests // 5, seen))
                took, after = perf_counter() - began, _rss_mb(service.process.pid)
                if service.client.get("/readyz").status_code != 200:
                    seen.wrong.append("it is not ready any more")
                log = service.log.read_text(errors="replace")
        finally:
            cache.stop()
            ratings.stop()
    if "Traceback" in log:
        seen.wrong.append(f"a traceback: {log[log.index('Traceback') :][:3000]}")
    if after - before > GROWTH_MB:
        seen.wrong.append(f"it grew from {before:.0f} to {after:.0f} MB")
    print(
        f"{sum(seen.statuses.values())} requests in {took:.0f} s, "
        f"the slowest {seen.slowest_s:.2f} s; {before:.0f} MB after a fifth, {after:.0f} at the "
        f"end (seed {seed})"
    )
    for status, count in sorted(seen.statuses.items()):
        print(f"  {status or 'closed'}: {count}")
    return seen.wrong


def _rss_mb(pid: int) -> float:
    process = psutil.Process(pid)
    below = [process, *process.children(recursive=True)]
    return max(one.memory_info().rss for one in below) / 1e6


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="(100000)")
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument("--state", type=Path, default=Path(".usher"), help="where bundles are kept")
    asked = parser.parse_args()
    os.chdir(ROOT)
    wrong = run(asked.requests, asked.seed, bundle_of(SMALL, asked.state / "bench", print))
    for line in list(dict.fromkeys(wrong))[:20]:
        print(f"WRONG: {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
