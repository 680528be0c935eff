"""Traces, as a collector receives them: a real HTTP server that reads OTLP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle
from service import settings
from service.edge import traces
from service.errors import SettingsRefused
from service.settings import read_settings
from tests.service_fixtures import PATIENT_CACHE, RedisServer, Service, running_service

TOP_TEN = "/v1/users/1/recommendations"
TEMPLATE = "/v1/users/{user_id}/recommendations"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEY = "a-secret-0123456789"


class Collector:
    """Keeps the spans it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.bodies: list[bytes] = []
        self.answering = threading.Event()
        self.answering.set()
        self.asked = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                collector.asked.set()
                collector.answering.wait(60)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def read(self) -> dict[str, Any]:
        """The spans by name, each once."""
        service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
        found: dict[str, Any] = {}
        for body in self.bodies:
            request = service.ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        assert span.name not in found
                        found[span.name] = span
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    collector = Collector()
    serving = threading.Thread(target=collector.server.serve_forever)
    serving.start()
    yield collector
    collector.answering.set()
    collector.server.shutdown()
    serving.join()
    collector.server.server_close()


@contextmanager
def traced(
    folder: Path, bundle: Bundle, collector: Collector, **environment: str
) -> Iterator[Service]:
    named = {"USHER_MODEL": str(bundle.path), "USHER_TRACES": collector.url}
    with running_service(folder, **named | environment) as service:
        yield service


def parent(sampled: bool) -> dict[str, str]:
    return {"traceparent": f"00-{TRACE}-{PARENT}-{'01' if sampled else '00'}"}


def attributes(span: Any) -> dict[str, Any]:
    values = {}
    for pair in span.attributes:
        values[pair.key] = getattr(pair.value, pair.value.WhichOneof("value"))
    return values


def test_a_request_its_redis_and_its_graph_are_spans_below_the_callers(
    tmp_path: Path, bundle: Bundle, redis_server: RedisServer, collector: Collector
) -> None:
    environment = PATIENT_CACHE | {
        "USHER_CACHE_URL": redis_server.url,
        "USHER_RATINGS_URL": redis_server.url,
        "USHER_API_KEYS": KEY,
        "USHER_TRACES_SHARE": "0",
    }
    with traced(tmp_path, bundle, collector, **environment) as service:
        headers = {"X-API-Key": KEY, "X-Request-ID": "traced"}
        asked = service.client.get(TOP_TEN, headers=headers | parent(sampled=True))
        assert asked.headers["X-Cache"] == "miss"
        for more in ({}, parent(sampled=False)):  # neither asks to be traced
            assert service.client.get(TOP_TEN, headers=headers | more).status_code == 200
        assert service.stop() == 0
    spans = collector.read()
    ours = {"ratings HGET", "cache GET", "ratings HGETALL", "graph recommend", "cache SET"}
    assert set(spans) == ours | {f"GET {TEMPLATE}"}
    request = spans[f"GET {TEMPLATE}"]
    assert request.parent_span_id.hex() == PARENT
    for name, span in spans.items():
        assert span.trace_id.hex() == TRACE
        if span is not request:
            assert span.parent_span_id == request.span_id, name
            assert request.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= request.end_time_unix_nano
    assert attributes(request) == {
        "http.request.method": "GET",
        "http.route": TEMPLATE,
        "url.path": TOP_TEN,
        "http.response.status_code": 200,
        "usher.request_id": "traced",
    }
    assert attributes(spans["graph recommend"]) == {"usher.jobs": 1}
    assert KEY.encode() not in b"".join(collector.bodies)


def test_errors_are_traced_like_answers(
    tmp_path: Path, bundle: Bundle, collector: Collector
) -> None:
    environment = {"USHER_API_KEYS": KEY, "USHER_TRACES_SHARE": "0"}
    with traced(tmp_path, bundle, collector, **environment) as service:
        refused = service.client.get("/v1/model", headers=parent(sampled=True))
        assert refused.status_code == 401
        assert service.stop() == 0
    (span,) = [s for s in collector.read().values() if s.trace_id.hex() == TRACE]
    assert attributes(span)["http.response.status_code"] == 401


def test_a_collector_that_does_not_answer_delays_neither_requests_nor_the_end(
    tmp_path: Path, bundle: Bundle, collector: Collector
) -> None:
    collector.answering.clear()
    environment = {"USHER_TRACES_SHARE": "1", "OTEL_BSP_SCHEDULE_DELAY": "1"}
    with traced(tmp_path, bundle, collector, **environment) as service:
        assert collector.asked.wait(60)
        for _ in range(200):
            assert service.client.get(TOP_TEN).status_code == 200
        assert service.stop() == 0


def test_the_end_waits_no_longer_than_it_is_told(collector: Collector) -> None:
    collector.answering.clear()
    ours = traces.Traces(collector.url, share=1.0)
    with ours.request({}):
        pass
    ours.close(0.01)
    waiting = [thread for thread in threading.enumerate() if thread.name == "last-spans"]
    assert waiting, "it returned although the collector has not answered"
    collector.answering.set()
    for thread in waiting:
        thread.join()
    assert set(collector.read()) == {"request"}


def test_without_the_setting_nothing_is_traced() -> None:
    assert read_settings().traces is None


def test_a_missing_exporter_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_TRACES", "http://127.0.0.1:4318/v1/traces")
    monkeypatch.setattr(settings, "EXPORTER", "a-package-nobody-has")
    with pytest.raises(SettingsRefused) as refusal:
        read_settings()
    assert str(refusal.value).startswith("USHER_TRACES cannot be used: the package a-package")


def test_a_collector_is_named_by_its_url_which_may_hold_a_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("USHER_TRACES", "grpc://:hunter2@collector:4317")
    with pytest.raises(SettingsRefused) as refusal:
        read_settings()
    assert "USHER_TRACES cannot be used" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
