"""The image: what it is made of, and that it serves as nobody in particular from files it cannot
change. No engine is needed: its files, variables, user and command run in a root of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from models.bundle import Bundle
from service.local.bento_server import LocalService
from tests.bento_fixtures import ROOT, Elsewhere, built, call, unpacked
from tests.dockerfile import Image, read_dockerfile
from tests.sealed_root import SealedRoot, can_seal
from tests.service_fixtures import await_condition, free_port, running_service

KEY = "a-key-for-tests-only"
HADOLINT = Path(sys.executable).with_name("hadolint")
ENGINE = """#!/bin/sh
case "$1" in
    version) echo 28.0.0 ;;
    build) echo "$@" > "$SEEN/arguments"; cp -r . "$SEEN/context" ;;
    image) test "$3" = "$EXPECTED" ;;
esac
"""
needs_root = pytest.mark.skipif(
    not can_seal(), reason="a root file system of its own takes root on Linux"
)


@pytest.fixture(scope="module")
def gpu_bento(registered: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    return unpacked(built(folder, "usher-gpu", "bentofile.gpu.yaml"), folder / "bento")


@pytest.fixture(params=["cpu", "gpu"])
def dockerfile(request: pytest.FixtureRequest, elsewhere: Elsewhere, gpu_bento: Path) -> Path:
    bento = elsewhere.bento if request.param == "cpu" else gpu_bento
    return bento / "env" / "docker" / "Dockerfile"


def linted(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, "--no-color", dockerfile], capture_output=True, text=True)


def test_hadolint_finds_nothing_in_the_dockerfile(dockerfile: Path, tmp_path: Path) -> None:
    answer = linted(dockerfile)
    assert answer.returncode == 0, answer.stdout
    worse = tmp_path / "Dockerfile"
    worse.write_text(dockerfile.read_text().replace("--no-cache-dir", "").replace("USER", "USE"))
    assert linted(worse).returncode == 1


def test_the_image_is_pinned_and_not_root_s(dockerfile: Path) -> None:
    image = read_dockerfile(dockerfile)
    assert image.base.rpartition(":")[2].startswith("3.11.14-")
    assert image.user == "1034:1034"  # a number: Kubernetes cannot tell whether a name is root
    assert image.health_check
    assert not any("USHER_API_KEYS" in line for line in dockerfile.read_text().splitlines())


def test_both_bentofiles_pack_the_same_but_for_what_a_gpu_needs() -> None:
    cpu, gpu = (bentofile(name) for name in ("bentofile.yaml", "bentofile.gpu.yaml"))
    assert set(gpu["docker"].pop("env")) == {
        "USHER_PROVIDERS", "USHER_ENGINE_CACHE", "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
    }  # fmt: skip
    assert (cpu.pop("name"), gpu.pop("name")) == ("usher", "usher-gpu")
    files = [parts["python"].pop("requirements_txt") for parts in (cpu, gpu)]
    assert files == ["requirements/service.txt", "requirements/tensorrt.txt"]
    assert cpu == gpu


def bentofile(name: str) -> dict[str, Any]:
    parts: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return parts


def test_the_gpu_bento_asks_for_one_onnxruntime_and_its_libraries(gpu_bento: Path) -> None:
    listed = (gpu_bento / "env" / "python" / "requirements.txt").read_text().splitlines()
    packages = {line.partition("==")[0] for line in listed if "==" in line}
    assert "onnxruntime" not in packages
    assert {"onnxruntime-gpu", "nvidia-cublas", "nvidia-cudnn-cu13"} <= packages
    assert "tensorrt-cu13-libs" in packages
    assert not any(line.startswith("-r") for line in listed)


# ---- as a container would run it


@contextmanager
def contained(
    there: Elsewhere, folder: Path, port: int, **environment: str
) -> Iterator[tuple[LocalService, SealedRoot]]:
    """The image's command as its user in a sealed root; it may not be ready yet."""
    image = read_dockerfile(there.bento / "env" / "docker" / "Dockerfile")
    root = sealed(image, there, folder, environment)
    log = folder / "contained.log"
    command = [str(port) if word == "3000" else word for word in image.command]
    with log.open("wb") as stream:
        process = subprocess.Popen(root.command(*command), stdout=stream, stderr=stream)
    service = LocalService(port, log, process)
    try:
        yield service, root
    finally:
        service.end()


def sealed(image: Image, there: Elsewhere, folder: Path, environment: dict[str, str]) -> SealedRoot:
    call("chmod", "-R", "a+rX", there.bento, there.folder / "venv", cwd=folder, environment={})
    path = image.environment["PATH"].replace("$PATH", os.defpath)
    user, group = map(int, image.user.split(":"))
    (mount_point := folder / "root").mkdir()
    shown = {"/app/.venv": there.folder / "venv", "/app/bento": there.bento}
    variables = image.environment | {"PATH": path} | environment
    return SealedRoot(mount_point, shown, variables, user, group, image.working_folder)


def await_ready(service: LocalService) -> None:
    await_condition(
        lambda: service.process.poll() is not None or service.is_ready(),
        "it is ready",
        timeout_s=60,
    )
    assert service.process.poll() is None, service.log.read_text()


@needs_root
def test_it_serves_from_files_it_cannot_change(
    elsewhere: Elsewhere, bundle: Bundle, tmp_path: Path
) -> None:
    user = bundle.users.ids[0].decode()
    paths = [f"/v1/users/{user}/recommendations?k=20", "/v1/users/nobody/recommendations"]
    (ours := tmp_path / "tree").mkdir()
    with (
        contained(elsewhere, tmp_path, free_port(), USHER_API_KEYS=KEY) as (service, root),
        running_service(ours, USHER_MODEL=str(bundle.path)) as tree,
    ):
        await_ready(service)
        for path in paths:
            assert service.get(path, KEY) == (200, tree.client.get(path).content)
        assert service.get(paths[0])[0] == 401
        inside = Path(f"/proc/{service.process.pid}")
        assert {int(word) for word in status_of(inside, "Uid")} == {root.user}
        assert status_of(inside, "CapEff") == ["0000000000000000"]
        written = {path.name for path in (inside / "root" / "tmp").iterdir()}
        assert {name.split("-")[0] for name in written} <= {"bentoml", ".ses"}
        assert healthy(elsewhere, root, service.port)
    assert service.process.returncode == 0
    assert not healthy(elsewhere, root, service.port)
    assert "Traceback" not in service.log.read_text()


def status_of(process: Path, name: str) -> list[str]:
    lines = (process / "status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(f"{name}:"))


def healthy(there: Elsewhere, root: SealedRoot, port: int) -> bool:
    """What the image's own health check says, asked as an engine asks it."""
    image = read_dockerfile(there.bento / "env" / "docker" / "Dockerfile")
    check = [word.replace(":3000/", f":{port}/") for word in image.health_check]
    return subprocess.run(root.command(*check), capture_output=True).returncode == 0


@needs_root
@pytest.mark.parametrize("place", ["/", "/app/bento/src/service", "/app/.venv", "/usr", "/etc"])
def test_only_tmp_can_be_written_to(elsewhere: Elsewhere, tmp_path: Path, place: str) -> None:
    image = read_dockerfile(elsewhere.bento / "env" / "docker" / "Dockerfile")
    root = sealed(image, elsewhere, tmp_path, {})
    attempt = root.command("sh", "-c", f"touch /tmp/may && touch {place}/may-not")
    answer = subprocess.run(attempt, capture_output=True, text=True)
    assert answer.returncode == 1
    assert "may-not" in answer.stderr


@needs_root
def test_it_ends_when_asked_and_answers_what_it_has_begun(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    body = b'{"user_ids": ["1", "2"]}'
    head = b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\n" % KEY.encode()
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    with contained(elsewhere, tmp_path, free_port(), USHER_API_KEYS=KEY) as (service, _):
        await_ready(service)
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
            connection.sendall(head + length + body[:5])
            assert service.get("/livez")[0] == 200  # later than our first bytes
            service.process.send_signal(signal.SIGTERM)
            await_condition(lambda: not listens(service.port), "it takes no new requests")
            connection.sendall(body[5:])
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        assert service.process.wait(timeout=30) == 0


def listens(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


@needs_root
def test_a_worker_that_is_killed_is_replaced(elsewhere: Elsewhere, tmp_path: Path) -> None:
    with contained(elsewhere, tmp_path, free_port(), USHER_API_KEYS=KEY) as (service, _):
        await_ready(service)
        (worker,) = psutil.Process(service.process.pid).children()
        worker.kill()
        await_condition(lambda: not worker.is_running(), "it is gone")
        await_ready(service)
        assert service.get("/v1/model", KEY)[0] == 200


@needs_root
def test_it_does_not_start_without_keys(elsewhere: Elsewhere, tmp_path: Path) -> None:
    with contained(elsewhere, tmp_path, free_port()) as (service, _):
        assert service.process.wait(timeout=30) != 0
        assert "set USHER_API_KEYS" in service.log.read_text()


# ---- make container


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_make_container_hands_an_engine_all_it_needs(
    registered: Bundle, tmp_path: Path, kind: str
) -> None:
    """The engine stands in for one: it keeps what it was told to build."""
    (tmp_path / "bin").mkdir()
    engine = tmp_path / "bin" / "docker"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name[:4] != "MAKE"}
    environment |= {
        "PATH": f"{engine.parent}:{os.environ['PATH']}", "SEEN": str(tmp_path),
        "EXPECTED": "registry.example/usher:1", "HOME": str(tmp_path),
    }  # fmt: skip
    options = ["GPU=1"] if kind == "gpu" else []
    said = call(
        "make", "container", "IMAGE=registry.example/usher:1", *options,
        cwd=ROOT, environment=environment,
    )  # fmt: skip
    assert "--tag registry.example/usher:1" in (tmp_path / "arguments").read_text()
    image = read_dockerfile(tmp_path / "context" / "env" / "docker" / "Dockerfile")
    assert image.command[:4] == ("python", "-m", "bentoml", "serve")
    assert ("USHER_PROVIDERS" in image.environment) == (kind == "gpu")
    assert list((tmp_path / "context" / "models" / "usher").glob("*/manifest.json"))
    assert "docker run --read-only --tmpfs /tmp" in said
    assert ("--gpus all" in said) == (kind == "gpu")
