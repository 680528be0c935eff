"""The runbook in a real engine: the image is built, Compose runs it, ratings are lost and restored.

What is run are the blocks of docs/operations.md, in order and as they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.container_engine import ENGINE, ContainerEngine
from tests.doc_blocks import Checkout, blocks_of, tiny_data

IMAGE = "registry.example.com/usher:0.1.0"


@pytest.fixture
def checkout(tmp_path: Path, container_engine: ContainerEngine) -> Iterator[Checkout]:
    (tmp_path / "tree").mkdir()
    made = Checkout.make(tmp_path / "tree", tiny_data(tmp_path / "data"))
    made.environment.update(container_engine.environment)
    made.environment["USHER_PORT"] = str(made.port)
    yield made
    if (made.folder / "deploy" / ".env").exists():
        made.shell("docker compose -f deploy/compose.yaml down --volumes --timeout 5")
    store = made.folder / ".usher" / "bentoml" / "bentos" / "usher" / "latest"
    names = [IMAGE, *([f"usher:{store.read_text()}"] if store.exists() else [])]
    container_engine.docker("image", "rm", "--force", *names)


@dataclass(frozen=True)
class Caller:
    """Asks the service that Compose has published, with its key."""

    client: httpx.Client

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self.client.request(method, path, **options)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def rate(self, item: str, rating: float) -> None:
        self.ask("PUT", f"/users/newcomer/ratings/{item}", json={"rating": rating})

    @property
    def rated(self) -> dict[str, float]:
        told = self.ask("GET", "/users/newcomer/ratings")["ratings"]
        return {rating["item_id"]: rating["rating"] for rating in told}


@contextmanager
def caller_of(checkout: Checkout) -> Iterator[Caller]:
    lines = (checkout.folder / "deploy" / ".env").read_text().splitlines()
    key = dict(line.split("=", 1) for line in lines)["USHER_API_KEYS"]
    url = f"http://127.0.0.1:{checkout.port}/v1"
    with httpx.Client(base_url=url, headers={"X-API-Key": key}) as client:
        yield Caller(client)


def test_the_runbook_runs(checkout: Checkout, container_engine: ContainerEngine) -> None:
    image, compose, restart, backup, restore = (
        block for block in blocks_of("docs/operations.md") if block.needs == ENGINE
    )
    assert f"Built {IMAGE}" in checkout.run(image)
    assert '"basis":"history"' in checkout.run(compose)
    with caller_of(checkout) as caller:
        first, second, *_ = [item["item_id"] for item in caller.ask("GET", "/items")["items"]]
        caller.rate(first, 4.5)
        checkout.run(restart)
        top = caller.ask("GET", "/users/newcomer/recommendations")
        assert first not in [item["item_id"] for item in top["items"]]
        checkout.run(backup)
        caller.rate(second, 1.5)
        assert caller.rated == {first: 4.5, second: 1.5}
    checkout.run(restore)
    with caller_of(checkout) as caller:
        assert caller.rated == {first: 4.5}
    containers = container_engine.docker(
        "ps", "--filter", f"label=com.docker.compose.project={container_engine.project}",
        "--format", "{{.Status}}",
    )  # fmt: skip
    assert containers.count("(healthy)") == 3, containers


def test_the_image_runs_alone_as_make_container_says(
    checkout: Checkout, container_engine: ContainerEngine
) -> None:
    """Without a Redis, without a capability, with files it cannot change."""
    said = checkout.shell(f"make container IMAGE={IMAGE}")
    (command,) = [line.strip() for line in said.splitlines() if "run --read-only" in line]
    name = f"{container_engine.project}-alone"
    command = command.replace("-p 3000:3000", f"-p 127.0.0.1:{checkout.port}:3000")
    started = f"export USHER_API_KEYS=a-key-of-the-tests; {command}"
    started = started.replace("docker run", f"docker run --detach --name {name}")
    try:
        checkout.shell(started)
        checkout.await_answer("/livez")
        key = {"X-API-Key": "a-key-of-the-tests"}
        url = f"http://127.0.0.1:{checkout.port}/v1/users/1/recommendations"
        assert httpx.get(url, headers=key).json()["basis"] == "history"
        assert httpx.get(url).status_code == 401
        tried = "id -u; touch /app/x 2>/dev/null && echo writable; stat -c %U /app /app/bento"
        assert container_engine.docker("exec", name, "sh", "-c", tried).split() == [
            "1034", "root", "root"
        ]  # fmt: skip
        container_engine.docker("stop", "--time", "30", name)
        state = container_engine.docker("inspect", "--format", "{{.State.ExitCode}}", name)
        assert state.strip() == "0"
    finally:
        container_engine.docker("rm", "--force", name)
