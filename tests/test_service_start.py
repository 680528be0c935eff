"""What the service loads, when it refuses to start, what its workers are told, and how it stops."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from models.bundle import Bundle, BundleCorrupt, files_of, verify_bundle
from service.settings import read_settings
from tests.service_fixtures import (
    ROOT,
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
