"""The whole service as an operator meets it: started, asked, hurt, stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from models.bundle import Bundle, BundleCorrupt, files_of, verify_bundle
from service.edge.bodies import DRAINED_BODY, MAX_BODY
from service.settings import read_settings
from tests.service_fixtures import (
    PATIENT_CACHE,
    ROOT,
    RedisServer,
    Service,
    await_condition,
    running_service,
    start_service,
)

TOP_TEN = "/v1/users/1/recommendations"


# ---- what is imported


OF_TRAINING = {"torch", "training", "lightning", "onnx", "polars", "pandas"}
OF_ANSWERING = {"fastapi", "onnxruntime", "redis"}


def imported_by(program: str) -> set[str]:
    """The modules there are in a process once it has run `program`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("USHER_")}
    found = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return set(found.stdout.split())


def test_importing_the_service_loads_nothing_of_training() -> None:
    worker = imported_by("import service.app; service.app.worker()")
    assert worker >= OF_ANSWERING
    assert not worker & OF_TRAINING
    assert not [name for name in worker if name.startswith("models.networks")]
    assert "service.edge.traces" not in worker  # unless they are asked for


def test_the_supervisor_loads_nothing_that_answers() -> None:
    supervisor = imported_by("import service.app")
    assert "models.bundle" in supervisor
    assert not supervisor & (OF_TRAINING | OF_ANSWERING | {"service.worker", "service.edge.traces"})


def test_workers_are_told_what_was_verified_and_ask_for_large_pages(
    service: Service, bundle: Bundle
) -> None:
    (worker,) = psutil.Process(service.process.pid).children()
    told = worker.environ()
    assert told["_USHER_VERIFIED"] == verify_bundle(bundle.path)[1]
    assert told["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"


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


# ---- starting and stopping


def test_a_request_in_flight_is_answered_before_the_end(tmp_path: Path, bundle: Bundle) -> None:
    with running_service(tmp_path, USHER_MODEL=str(bundle.path)) as service:
        url = httpx.URL(service.url)
        body = b'{"user_ids": ["1", "2"]}'
        with socket.create_connection((url.host, url.port), timeout=30) as connection:
            head = b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % len(body) + body[:5])
            await_condition(lambda: _in_flight(service), "the request is being read")
            service.process.send_signal(signal.SIGTERM)
            await_condition(lambda: not _accepts(url), "the service takes no new requests")
            connection.sendall(body[5:])
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        assert service.process.wait(timeout=30) == 0


def _in_flight(service: Service) -> bool:
    return service.client.get("/livez").status_code == 200  # later than our first bytes


def _accepts(url: httpx.URL) -> bool:
    try:
        return httpx.get(str(url) + "/livez", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def test_a_worker_reads_again_what_has_changed_since_it_was_verified(
    bundle: Bundle, bentoml_service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that takes the place of another, days later."""
    from service import app

    copy = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    monkeypatch.setenv("USHER_MODEL", str(copy))
    monkeypatch.setenv("_USHER_VERIFIED", "")
    bentoml_service.inner.verify()
    with monkeypatch.context() as patched:
        patched.delattr("models.bundle.file_digest")
        assert app._find_bundle(read_settings()).digest == bundle.digest
        with pytest.raises(NameError):
            bentoml_service.inner.verify()  # which takes nobody's word
    with (copy / "weights.bin").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(BundleCorrupt, match=r"weights\.bin"):
        app._find_bundle(read_settings())


@pytest.fixture(scope="module")
def bundle_files(bundle: Bundle) -> list[str]:
    return [*files_of(bundle.path), "manifest.json", "manifest.sha256"]


def test_a_flipped_byte_in_any_file_is_found_and_named(
    bundle: Bundle,
    bundle_files: list[str],
    bentoml_service: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the very check `bentoml serve` makes before it starts a worker."""
    copy = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    monkeypatch.setenv("USHER_MODEL", str(copy))
    monkeypatch.setenv("_USHER_VERIFIED", "")
    verify = bentoml_service.inner.verify
    verify()
    for name in bundle_files:
        intact = (copy / name).read_bytes()
        _flip(copy / name, len(intact) // 2)
        with pytest.raises(SystemExit) as refusal:
            verify()
        assert name in str(refusal.value)
        assert str(refusal.value).startswith("Usher does not start.")
        (copy / name).write_bytes(intact)
    verify()


def _flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x01
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"USHER_MODEL": "{bundle}"}, "weights.bin"),
        ({"USHER_MODEL": "/nowhere"}, "There is no bundle at /nowhere"),
        ({"USHER_MODEL": "usher:absent"}, "There is no model usher:absent"),
        ({"USHER_MODEL": "{bundle}", "USHER_QUEUE_HISTORIES": "few"}, "USHER_QUEUE_HISTORIES=few"),
        ({"USHER_MODEL": "{bundle}", "USHER_WORKERS": "0"}, "USHER_WORKERS=0"),
        ({"USHER_MODEL": "{bundle}", "USHER_WORKERS": "two"}, "USHER_WORKERS=two"),
    ],
    ids=["flipped byte", "no folder", "no tag", "bad setting", "no workers", "odd workers"],
)
def test_the_service_refuses_to_start_in_one_sentence(
    bundle: Bundle, tmp_path: Path, environment: dict[str, str], told: str
) -> None:
    copy = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    _flip(copy / "weights.bin", 1000)
    named = {name: value.format(bundle=copy) for name, value in environment.items()}
    process, _, log = start_service(tmp_path, **named)
    assert process.wait(timeout=60) != 0
    said = log.read_text()
    assert told in said
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if "Usher does not start" in line]) == 1


def test_as_many_workers_answer_as_are_asked_for(bundle: Bundle, tmp_path: Path) -> None:
    environment = {"USHER_MODEL": str(bundle.path), "USHER_WORKERS": "2"}
    with running_service(tmp_path, **environment) as service:
        below = psutil.Process(service.process.pid).children(recursive=True)
        workers = [child for child in below if "worker" in " ".join(child.cmdline())]
        assert len(workers) == 2
        before = [worker.cpu_times().user for worker in workers]

        def all_have_worked() -> bool:
            for _ in range(50):  # each on a connection of its own, which either may take
                path = f"{service.url}/v1/users/1/recommendations"
                assert httpx.get(path).status_code == 200
            times = [worker.cpu_times().user for worker in workers]
            return all(later > earlier for earlier, later in zip(before, times, strict=True))

        await_condition(all_have_worked, "both workers have answered")
        metrics = service.client.get("/metrics").text
    counted = re.findall(r"usher_requests_total\{.*recommendations.*\} (\d+)", metrics)
    assert sum(map(int, counted)) % 50 == 0
    assert counted
