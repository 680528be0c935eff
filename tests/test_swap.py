"""Another model while the service runs: workers follow, bad ones are refused, and back again."""

from __future__ import annotations

import asyncio
import shutil
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from models.bundle import Bundle, BundleCorrupt, BundleMissing
from service.bundles import activate, find_bundle, pointed_at
from service.metrics import Metrics
from service.recommender import Recommender
from service.serving import Serving, open_recommender
from service.settings import Settings
from service.swap import ModelSwap
from tests.service_fixtures import PATIENT_CACHE, RedisServer, await_condition, running_service
from tests.tiny import tiny_bundle


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of torch
        return tiny_bundle(tmp_path_factory.mktemp("another") / "tiny", seed=1)


def broken(bundle: Bundle, folder: Path) -> Path:
    """A copy of a bundle with one byte flipped."""
    copy = folder / "broken"
    shutil.copytree(bundle.path, copy)
    graph = copy / bundle.manifest.rate.file
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    return copy


def test_only_what_can_be_served_is_activated(
    tmp_path: Path, bundle: Bundle, another: Bundle
) -> None:
    pointer = tmp_path / "state" / "active-model"
    assert pointed_at(pointer) is None
    assert activate(str(bundle.path), pointer).digest == bundle.digest
    assert pointed_at(pointer) == str(bundle.path)
    with pytest.raises(BundleMissing):
        activate("usher:nonsense", pointer)
    with pytest.raises(BundleCorrupt):
        activate(str(broken(another, tmp_path)), pointer)
    assert find_bundle(str(another.path), None, pointer).digest == bundle.digest
    assert list(pointer.parent.iterdir()) == [pointer]
    pointer.write_text("\n")
    assert find_bundle(str(another.path), None, pointer).digest == another.digest


def test_running_workers_follow_the_pointer_and_drop_nothing(
    tmp_path: Path, redis_server: RedisServer, bundle: Bundle, another: Bundle
) -> None:
    pointer = tmp_path / "active-model"
    environment = PATIENT_CACHE | {
        "USHER_MODEL": str(bundle.path),
        "USHER_MODEL_POINTER": str(pointer),
        "USHER_CACHE_URL": redis_server.url,
    }
    user = another.users.ids[0].decode()
    answers: list[tuple[int, str, bytes]] = []
    done = threading.Event()

    def keep_asking(url: str) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not done.is_set():
                answer = client.get(f"/v1/users/{user}/recommendations")
                digest = answer.json().get("model", {}).get("digest", "")
                answers.append((answer.status_code, digest, answer.content))

    with running_service(tmp_path, **environment) as service:

        def digest() -> str:
            told: str = service.client.get("/v1/model").json()["digest"]
            return told

        asking = threading.Thread(target=keep_asking, args=(service.url,))
        asking.start()
        try:
            assert digest() == bundle.digest
            activate(str(another.path), pointer)
            await_condition(lambda: digest() == another.digest, "the worker has followed")
            bad = broken(bundle, tmp_path)
            pointer.write_text(str(bad))
            told = "The model stays as it is. The file"
            await_condition(lambda: told in service.log.read_text(), "the worker has refused")
            assert digest() == another.digest
            activate(str(bundle.path), pointer)
            await_condition(lambda: digest() == bundle.digest, "the worker has gone back")
            asked = len(answers)
            await_condition(lambda: len(answers) > asked + 5, "answers after it")
        finally:
            done.set()
            asking.join()
        metrics = service.client.get("/metrics").text
        assert "Traceback" not in service.log.read_text()
    assert {status for status, _, _ in answers} == {200}
    changes = [answers[0][1]]
    for _, answered_by, _ in answers:
        if answered_by != changes[-1]:
            changes.append(answered_by)
    assert changes == [bundle.digest, another.digest, bundle.digest]
    bodies = {(answered_by, body) for _, answered_by, body in answers}
    assert len(bodies) == 2  # each model one answer, from the cache or not
    assert 'usher_model_swaps_total{outcome="refused"} 1.0' in metrics
    assert 'usher_model_swaps_total{outcome="done"} 2.0' in metrics


def test_what_was_left_again_while_it_was_loading_never_answers(
    tmp_path: Path, bundle: Bundle, another: Bundle
) -> None:
    pointer = tmp_path / "active-model"
    activate(str(bundle.path), pointer)
    settings = Settings(cache_url=None, ratings_url=None)
    metrics = Metrics(CollectorRegistry())
    with ThreadPoolExecutor(1) as executor:

        def opened() -> Recommender:
            return open_recommender(find_bundle(None, None, pointer), settings, executor, metrics)

        def load() -> Recommender:
            later = opened()
            loaded.append(later.bundle.digest)
            activate(str(bundle.path), pointer)
            return later

        loaded: list[str] = []
        serving = Serving(settings=settings, recommender=opened())
        swap = ModelSwap(pointer, load, serving, metrics)
        activate(str(another.path), pointer)
        asyncio.run(swap.follow())
    assert loaded == [another.digest, bundle.digest]
    assert serving.recommender is not None
    assert serving.recommender.bundle.digest == bundle.digest
    assert metrics.swaps.labels("done")._value.get() == 1
