"""The access log: what a line says, and that nobody waits for who does not read it."""

from __future__ import annotations

import fcntl
import json
import os
import random
import sys
import termios
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from models.bundle import Bundle
from service.edge.access_log import ATOMIC_WRITE, AccessLog, Line, text_of
from service.metrics import Metrics
from tests.service_fixtures import (
    PATIENT_CACHE,
    RedisServer,
    Service,
    await_condition,
    running_service,
    start_service,
)

LISTEN = ("--host", "127.0.0.1")
KEY = "a-secret-0123456789"
TOP_TEN = "/v1/users/1/recommendations"
TEMPLATE = "/v1/users/{user_id}/recommendations"
PATIENT_S = 60.0


def line(number: int = 0, path: str = TOP_TEN) -> Line:
    return Line(1_700_000_000.25, f"id-{number}", "GET", TEMPLATE, path, 200, "hit", 0.00125, 512)


class Pipe:
    """An access log on a pipe of its own, read when the test says so."""

    def __init__(self, capacity: int = 10_000, share: float = 1.0) -> None:
        self.reader, self.writer = os.pipe()
        self.registry = CollectorRegistry()
        self.log = self.another(capacity, share)
        self._read: list[bytes] = []

    def another(self, capacity: int = 10_000, share: float = 1.0) -> AccessLog:
        """One more log that writes into the same pipe."""
        self.metrics = Metrics(CollectorRegistry()) if hasattr(self, "metrics") else self._first()
        return AccessLog(self.writer, self.metrics, share, 0.5, capacity, random.Random(0))

    def _first(self) -> Metrics:
        return Metrics(self.registry)

    def dropped(self) -> float:
        return self.registry.get_sample_value("usher_access_log_dropped_lines_total") or 0.0

    def holds_more_than(self, size: int) -> bool:
        """Whether so many bytes wait to be read."""
        waiting = fcntl.ioctl(self.reader, termios.FIONREAD, bytes(4))
        return int.from_bytes(waiting, sys.byteorder) > size

    def start_reading(self) -> threading.Thread:
        thread = threading.Thread(target=self._read_on)
        thread.start()
        return thread

    def _read_on(self) -> None:
        while part := os.read(self.reader, 1000):  # less than a piece, as a slow reader would
            self._read.append(part)

    def lines(self, thread: threading.Thread) -> list[dict[str, Any]]:
        """Everything that was written, once nobody writes any more."""
        os.close(self.writer)
        thread.join()
        os.close(self.reader)
        return [json.loads(text) for text in b"".join(self._read).splitlines()]


# ---- a line


def test_a_line_says_what_happened() -> None:
    told = json.loads(text_of(line(7)))
    assert datetime.fromisoformat(told.pop("time")) == datetime.fromtimestamp(1_700_000_000.25, UTC)
    assert told == {
        "request_id": "id-7",
        "method": "GET",
        "route": TEMPLATE,
        "path": TOP_TEN,
        "status": 200,
        "cache": "hit",
        "ms": 1.25,
        "bytes": 512,
    }


@given(path=st.text(max_size=2000))
def test_whatever_a_path_holds_a_line_is_one_and_not_too_long(path: str) -> None:
    text = text_of(line(path=path)._replace(request_id="x" * 128))
    assert text.count(b"\n") == 1
    assert len(text.splitlines()) == 1
    assert text.isascii()
    assert len(text) <= 4096
    assert path.startswith(json.loads(text)["path"])


def test_errors_and_slow_requests_are_always_wanted_others_by_their_share() -> None:
    for share in (0.0, 0.25, 1.0):
        pipe = Pipe(share=share)
        for status in (400, 401, 404, 422, 500, 503, 0):
            assert all(pipe.log.wants(status, 0.001) for _ in range(20))
        assert all(pipe.log.wants(200, 0.5) for _ in range(20))
        wanted = sum(
            pipe.log.wants(status, 0.49) for status in (200, 304, 307) for _ in range(1000)
        )
        assert wanted == pytest.approx(3000 * share, abs=120)  # five standard deviations
        pipe.log.close(PATIENT_S)


# ---- the thread that writes


def test_what_waits_at_the_end_is_written_in_order() -> None:
    pipe = Pipe()
    reading = pipe.start_reading()
    for number in range(3000):
        pipe.log.add(line(number))
    pipe.log.close(PATIENT_S)
    assert [told["request_id"] for told in pipe.lines(reading)] == [f"id-{n}" for n in range(3000)]
    assert pipe.dropped() == 0


def test_a_pipe_nobody_reads_costs_lines_and_no_time() -> None:
    """Whoever waited for the pipe in `add` would never return. No line is lost uncounted."""
    pipe = Pipe(capacity=50)
    for number in range(5000):
        pipe.log.add(line(number))
    assert pipe.dropped() > 0
    pipe.log.close(0.01)  # returns, though the writer cannot end
    reading = pipe.start_reading()
    pipe.log.close(PATIENT_S)
    assert len(pipe.lines(reading)) + pipe.dropped() == 5000


def test_a_closed_pipe_costs_lines_and_nothing_else() -> None:
    pipe = Pipe()
    os.close(pipe.reader)
    for number in range(100):
        pipe.log.add(line(number))
    pipe.log.close(PATIENT_S)
    os.close(pipe.writer)
    assert pipe.dropped() == 100


def test_a_pipe_that_does_not_block_gets_everything() -> None:
    """As where somebody who shares the terminal with us has set it so."""
    pipe = Pipe()
    os.set_blocking(pipe.writer, False)
    for number in range(3000):
        pipe.log.add(line(number))
    reading = pipe.start_reading()
    pipe.log.close(PATIENT_S)
    assert len(pipe.lines(reading)) == 3000
    assert pipe.dropped() == 0


def test_workers_that_share_a_pipe_do_not_cut_each_others_lines() -> None:
    pipe = Pipe()
    logs = [pipe.log, pipe.another(), pipe.another()]
    for number in range(2000):
        for log in logs:
            log.add(line(number, path="x" * (number % 300)))
    await_condition(lambda: pipe.holds_more_than(50_000), "the pipe is full and all wait for it")
    reading = pipe.start_reading()
    for log in logs:
        log.close(PATIENT_S)
    seen = Counter(told["request_id"] for told in pipe.lines(reading))
    assert seen == {f"id-{number}": 3 for number in range(2000)}
    assert ATOMIC_WRITE >= 512  # POSIX's least


# ---- of a service


def logged(service: Service) -> list[dict[str, Any]]:
    """The JSON lines of a service that has ended; BentoML's own lines are no JSON."""
    lines = []
    for text in service.log.read_text().splitlines():
        with suppress(ValueError):
            lines.append(json.loads(text))
    return lines


def test_each_request_has_a_line_that_tells_no_secret(
    tmp_path: Path, bundle: Bundle, redis_server: RedisServer
) -> None:
    environment = PATIENT_CACHE | {
        "USHER_MODEL": str(bundle.path),
        "USHER_CACHE_URL": redis_server.url,
        "USHER_API_KEYS": KEY,
        "USHER_ACCESS_LOG_SHARE": "1",
    }
    asked: dict[str, tuple[httpx.Response, str | None, str]] = {}
    began = datetime.now(UTC) - timedelta(milliseconds=1)  # lines are rounded down to it
    with running_service(tmp_path, **environment) as service:

        def ask(name: str, route: str | None, method: str, path: str, **options: Any) -> None:
            headers = {"X-API-Key": KEY, "X-Request-ID": name} | options.pop("headers", {})
            answer = service.client.request(method, path, headers=headers, **options)
            asked[name] = (answer, route, unquote(path.split("?")[0]))

        ask("miss", TEMPLATE, "GET", TOP_TEN)
        ask("hit", TEMPLATE, "GET", TOP_TEN + "?k=10")
        ask("head", TEMPLATE, "HEAD", TOP_TEN)
        etag = asked["hit"][0].headers["ETag"]
        ask("unchanged", TEMPLATE, "GET", TOP_TEN, headers={"If-None-Match": etag})
        ask("bound", TEMPLATE, "GET", TOP_TEN + "?k=0&password=hunter2")
        ask("refused", None, "GET", TOP_TEN + f"?key={KEY}", headers={"X-API-Key": KEY + "x"})
        ask("nothing", None, "GET", "/v1/nothing")
        ask("line", None, "GET", "/v1/a%22%0A{b")
        ask("body", "/v1/predictions", "POST", "/v1/predictions", content=b"hunter2")
        ask("typed", "/recommend", "POST", "/recommend", json={"user_id": "1"})
        ask("bento", "/recommend", "POST", "/recommend", content=b"{")
        ask("metrics", "/metrics", "GET", "/metrics")
        assert service.stop() == 0
    ended = datetime.now(UTC)
    lines = {told["request_id"]: told for told in logged(service)}
    for name, (answer, route, path) in asked.items():
        told = lines[name]
        assert answer.headers["X-Request-ID"] == name
        assert told["method"] == answer.request.method
        assert told["status"] == answer.status_code
        assert told["path"] == path
        assert told["route"] == route, name
        assert told["bytes"] == len(answer.content)
        assert told["ms"] > 0
        assert told["cache"] == answer.headers.get("X-Cache", None)
        assert began <= datetime.fromisoformat(told["time"]) <= ended
    assert [lines[name]["cache"] for name in ("miss", "hit", "head")] == ["miss", "hit", "hit"]
    log = service.log.read_text()
    assert KEY not in log
    assert "hunter2" not in log


def test_without_a_share_only_errors_are_logged(tmp_path: Path, bundle: Bundle) -> None:
    environment = {"USHER_MODEL": str(bundle.path), "USHER_ACCESS_LOG_SHARE": "0"}
    slow = {"USHER_ACCESS_LOG_SLOW_MS": "600000"}
    with running_service(tmp_path, **environment, **slow) as service:
        for _ in range(20):
            assert service.client.get(TOP_TEN).status_code == 200
        assert service.client.get(TOP_TEN + "?k=0").status_code == 422
        assert service.stop() == 0
    told = [entry for entry in logged(service) if entry["path"] == TOP_TEN]
    assert [entry["status"] for entry in told] == [422]


def test_the_lines_of_the_last_requests_are_written_before_the_end(
    tmp_path: Path, bundle: Bundle
) -> None:
    environment = {"USHER_MODEL": str(bundle.path), "USHER_ACCESS_LOG_SHARE": "1"}
    with running_service(tmp_path, **environment) as service:
        with ThreadPoolExecutor(8) as callers:
            named = [f"last-{number}" for number in range(200)]
            headers = [{"X-Request-ID": name} for name in named]
            answers = callers.map(lambda own: service.client.get(TOP_TEN, headers=own), headers)
            assert all(answer.status_code == 200 for answer in answers)
        assert service.stop() == 0
    assert {told["request_id"] for told in logged(service)} >= set(named)


def test_a_service_nobody_reads_answers_and_counts_the_lines_it_drops(
    tmp_path: Path, bundle: Bundle
) -> None:
    reader, writer = os.pipe()
    environment = {"USHER_MODEL": str(bundle.path), "USHER_ACCESS_LOG_SHARE": "1"}
    process, url, _ = start_service(
        tmp_path, LISTEN, writer, **environment, USHER_ACCESS_LOG_LINES="20"
    )
    os.close(writer)
    read: list[bytes] = []

    def read_on() -> None:
        while part := os.read(reader, 1 << 16):
            read.append(part)

    reading = threading.Thread(target=read_on)
    with httpx.Client(base_url=url, timeout=30) as client:

        def is_ready() -> bool:
            assert process.poll() is None
            with suppress(httpx.TransportError):
                return client.get("/readyz").status_code == 200
            return False

        def dropped() -> float:
            name = "usher_access_log_dropped_lines_total "
            lines = client.get("/metrics").text.splitlines()
            return sum(float(text.removeprefix(name)) for text in lines if text.startswith(name))

        try:
            await_condition(is_ready, "the service is ready", timeout_s=60)
            before = dropped()
            for _ in range(1000):  # ten times what fits into the pipe and the queue
                assert client.get(TOP_TEN).status_code == 200
            reading.start()
            lost = dropped() - before
        finally:
            process.terminate()
            if not reading.is_alive():
                reading.start()
            assert process.wait(timeout=30) == 0
            reading.join()
            os.close(reader)
    texts = b"".join(read).splitlines()
    told = [json.loads(text) for text in texts if text.startswith(b"{")]
    assert lost > 0
    assert len([entry for entry in told if entry["path"] == TOP_TEN]) + lost == 1000
