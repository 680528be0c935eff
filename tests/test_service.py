"""The whole service as an operator meets it: asked and hurt."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.bundle import Bundle
from service.edge.bodies import DRAINED_BODY, MAX_BODY
from tests.service_fixtures import (
    PATIENT_CACHE,
    RedisServer,
    Service,
    await_condition,
    running_service,
)

TOP_TEN = "/v1/users/1/recommendations"


# ---- the cache from outside


def test_the_second_answer_is_a_hit_of_the_same_bytes_and_redis_may_die(
    tmp_path: Path, bundle: Bundle, redis_server: RedisServer
) -> None:
    environment = PATIENT_CACHE | {
        "USHER_MODEL": str(bundle.path),
        "USHER_CACHE_URL": redis_server.url,
    }
    with running_service(tmp_path, **environment) as service:
        first, second = service.client.get(TOP_TEN), service.client.get(TOP_TEN)
        assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("miss", "hit")
        assert first.content == second.content
        assert first.headers["ETag"] == second.headers["ETag"]
        redis_server.stop()
        for _ in range(8):
            without = service.client.get(TOP_TEN)
            assert (without.status_code, without.headers["X-Cache"]) == (200, "miss")
            assert without.content == first.content
        assert 'usher_cache_reads_total{outcome="failed"}' in service.client.get("/metrics").text


def test_who_has_the_answer_is_told_so(service: Service) -> None:
    etag = service.client.get(TOP_TEN).headers["ETag"]
    again = service.client.get(TOP_TEN, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == etag
    other = service.client.get(TOP_TEN + "?k=3", headers={"If-None-Match": etag})
    assert other.status_code == 200


def test_concurrent_callers_each_get_their_own(service: Service, bundle: Bundle) -> None:
    user_ids = [user_id.decode() for user_id in bundle.users.ids] * 3

    def ask(user_id: str) -> dict[str, object]:
        answer = service.client.get(f"/v1/users/{user_id}/recommendations?k=3&year_min=1981")
        assert answer.status_code == 200
        found: dict[str, object] = answer.json()
        return found

    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(ask, user_ids))
    assert [answer["user_id"] for answer in answers] == user_ids
    assert all(answers[n] == answers[n % len(bundle.users)] for n in range(len(answers)))


# ---- what nobody should send


def test_a_body_that_is_too_large_is_refused_and_the_next_answered(service: Service) -> None:
    def chunks(size: int) -> Iterator[bytes]:
        for _ in range(0, size, 100_000):
            yield b" " * 100_000

    for content in (b"x" * 10_000_000, chunks(10_000_000), b" " * (MAX_BODY + 1)):
        for path in ("/v1/predictions", "/recommend", "/v1/nothing"):
            if not isinstance(content, bytes):
                content = chunks(10_000_000)
            refused = service.client.post(path, content=content)
            assert refused.status_code == 413
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["type"] == "urn:usher:problem:body-too-large"
    assert service.client.get(TOP_TEN).status_code == 200


def test_a_body_of_the_largest_size_is_read(service: Service) -> None:
    body = b'{"ratings": []}'
    assert service.client.post("/v1/recommendations", content=body.ljust(MAX_BODY)).is_success


def test_an_endless_body_is_cut_off(service: Service) -> None:
    """Sent without a length, and by someone who does not listen until all of it is sent."""
    url = httpx.URL(service.url)
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        with pytest.raises(ConnectionError):
            for _ in range(4 * DRAINED_BODY // len(piece)):
                connection.sendall(piece)
    assert service.client.get(TOP_TEN).status_code == 200


def test_a_body_that_does_not_come_is_given_up(tmp_path: Path, bundle: Bundle) -> None:
    environment = {"USHER_MODEL": str(bundle.path), "USHER_REQUEST_TIMEOUT_S": "0.3"}
    with running_service(tmp_path, **environment) as service:
        url = httpx.URL(service.url)
        with socket.create_connection((url.host, url.port), timeout=30) as connection:
            connection.sendall(
                b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
            )
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"urn:usher:problem:body-too-slow" in answer
        assert service.client.get(TOP_TEN).headers["X-Cache"] == "off"


# ---- the typed method, health, metrics


def test_the_typed_method_answers_as_the_route_does(service: Service) -> None:
    asked = {"user_id": "4", "k": 3, "genre": ["Drama"], "exclude": ["1"]}
    typed = service.client.post("/recommend", json=asked).json()
    route = service.client.get("/v1/users/4/recommendations?k=3&genre=Drama&exclude=1").json()
    assert {key: typed[key] for key in route} | {"items": None} == route | {"items": None}
    for item, twin in zip(typed["items"], route["items"], strict=True):
        assert item == twin | {"rating": None}
    for wrong in ({"user_id": "4", "k": 0}, {"user_id": "x" * 300}, {"user_id": "4", "k": 101}):
        refused = service.client.post("/recommend", json=wrong)
        assert refused.status_code == 422
        assert refused.headers["content-type"] == "application/problem+json"


def test_metrics_know_routes_and_cache_states_but_no_user(service: Service) -> None:
    service.client.get("/v1/users/somebody-special/recommendations")
    service.client.get("/v1/users/somebody-special/recommendations")
    text = service.client.get("/metrics").text
    assert 'route="/v1/users/{user_id}/recommendations"' in text
    assert 'cache="hit"' in text
    assert 'cache="miss"' in text
    assert "usher_batch_jobs_bucket" in text
    assert "usher_model_info{" in text
    assert "somebody-special" not in text


def test_health_needs_no_more_than_the_service(service: Service) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        assert service.client.get(path).status_code == 200


def test_the_log_holds_no_traceback(service: Service) -> None:
    service.client.get("/v1/users/1/recommendations?k=0")
    service.client.post("/recommend", json={"user_id": "4", "k": 0})
    assert "Traceback" not in service.log.read_text()


def test_the_timeout_that_keeps_every_request_alive_is_gone(bentoml_service: Any) -> None:
    gateway = bentoml_service.to_asgi()
    assert type(gateway).__name__ == "Gateway"
    names = [getattr(m.cls, "__name__", "") for m in gateway._app.user_middleware]
    assert "ContextMiddleware" in names  # BentoML's own, which the typed method needs
    assert "TimeoutMiddleware" not in names
    assert "OpenTelemetryMiddleware" not in names


def test_a_second_service_leaves_the_counts_of_the_first(
    service: Service, tmp_path: Path, bundle: Bundle
) -> None:
    service.client.get("/v1/model")
    counted = 'usher_requests_total{cache="none",route="/v1/model",status="200"}'
    assert counted in service.client.get("/metrics").text
    with running_service(tmp_path, USHER_MODEL=str(bundle.path)) as other:
        assert counted in service.client.get("/metrics").text
        assert counted not in other.client.get("/metrics").text


def test_several_workers_count_together(tmp_path: Path, bundle: Bundle) -> None:
    """Answers of every worker appear in /metrics, whichever worker is asked."""
    override = '{"services": {"usher": {"workers": 2}}}'
    environment = {"USHER_MODEL": str(bundle.path), "BENTOML_CONFIG_OVERRIDES": override}
    with running_service(tmp_path, **environment) as service:

        def series(name: str) -> float:
            text = httpx.get(service.url + "/metrics").text
            lines = [line for line in text.splitlines() if line.startswith(name)]
            return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

        await_condition(lambda: series("usher_model_info{") == 1, "a model is served")
        for _ in range(30):  # each on a connection of its own, so that both workers are asked
            assert httpx.get(service.url + TOP_TEN).status_code == 200
        route = 'route="/v1/users/{user_id}/recommendations"'
        assert series(f'usher_requests_total{{cache="off",{route}') == 30
        assert series(f'usher_request_seconds_count{{cache="off",{route}') == 30
