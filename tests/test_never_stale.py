"""No wrong and no stale answer: ratings, model swaps and a failing cache, at random.

A walk of seeded random steps against a real service with both Redis and a model pointer. After
every step several callers ask at once, and each answer must be the one that the model it names
gives for the ratings that were acknowledged, computed here in process, without cache or store.
"""

from __future__ import annotations

import os
import random
import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle
from service.bundles import activate
from tests.oracle import Oracle, difference
from tests.service_fixtures import (
    PATIENT_CACHE,
    RedisServer,
    Service,
    await_condition,
    running_service,
)
from tests.tiny import tiny_bundle

STEPS = 120
CALLERS = 4
USERS = ("new.1", "new.2", "known")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@dataclass
class World:
    """What was acknowledged, and what may be broken."""

    service: Service
    cache: RedisServer
    ratings: RedisServer
    pointer: Path
    oracles: dict[str, Oracle]
    known: str
    activated: list[str]
    """Digests in the order they were activated."""
    histories: dict[str, dict[str, float]] = field(default_factory=dict)
    paused: bool = False

    def path(self, user: str) -> str:
        return f"/v1/users/{self.known if user == 'known' else user}"

    # Steps

    def rate(self, rng: random.Random) -> None:
        user, item = rng.choice(USERS), rng.choice(self._items())
        value = float(rng.randint(1, 5))
        answer = self.service.client.put(
            f"{self.path(user)}/ratings/{item}", json={"rating": value}
        )
        assert answer.status_code == 200, answer.text
        self.histories[user][item] = value

    def take_back(self, rng: random.Random) -> None:
        user = rng.choice(USERS)
        item = rng.choice(sorted(self.histories[user]) or self._items())
        assert self.service.client.delete(f"{self.path(user)}/ratings/{item}").status_code == 204
        self.histories[user].pop(item, None)

    def replace(self, rng: random.Random) -> None:
        user = rng.choice(USERS)
        history = {item: float(rng.randint(1, 5)) for item in rng.sample(self._items(), 3)}
        body = {"ratings": [{"item_id": i, "rating": v} for i, v in history.items()]}
        answer = self.service.client.put(f"{self.path(user)}/ratings", json=body)
        assert answer.status_code == 200, answer.text
        self.histories[user] = history

    def swap(self, rng: random.Random) -> None:
        digest = rng.choice([known for known in self.oracles if known != self.activated[-1]])
        activate(str(self.oracles[digest].bundle.path), self.pointer)
        self.activated.append(digest)

    def lose_cache(self, rng: random.Random) -> None:
        self._resume()
        self.cache.stop()
        self.cache.start()

    def pause_cache(self, rng: random.Random) -> None:
        os.kill(self.cache.pid, signal.SIGSTOP)
        self.paused = True

    def garble_cache(self, rng: random.Random) -> None:
        """Let every entry hold what another held, or rubbish."""
        self._resume()
        names = [name for name in _words(self.cache.command("KEYS", "usher:answer:*")) if name]
        for name in names:
            other = rng.choice(names)
            self.cache.command("EVAL", SWAP_VALUES, "2", name, other)
        if names:
            self.cache.command("SET", rng.choice(names), b"rubbish" * rng.randint(0, 20))

    def restart_ratings(self, rng: random.Random) -> None:
        self.ratings.stop()
        self.ratings.start(*DURABLE)

    # Looking

    def check(self, executor: ThreadPoolExecutor) -> None:
        """Every user, asked by several callers at once."""
        asked = [user for user in USERS for _ in range(CALLERS)]
        answers = list(executor.map(lambda user: self._ask(user), asked))
        digests = [answer["model"]["digest"] for answer in answers]
        for user, answer in zip(asked, answers, strict=True):
            expected = self.oracles[answer["model"]["digest"]].items(self.histories[user])
            assert difference(answer["items"], expected) is None, user
        assert set(digests) <= set(self.activated), "an earlier model came back"
        # No answer may come from before the latest activation that has surely answered.
        surely = max(self.activated.index(digest) for digest in digests)
        self.activated = self.activated[surely:]

    def told_model(self) -> str:
        """The digest of the model that the service says it answers with."""
        digest: str = self.service.client.get("/v1/model").json()["digest"]
        return digest

    def _ask(self, user: str) -> dict[str, Any]:
        answer = self.service.client.get(f"{self.path(user)}/recommendations")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def _items(self) -> list[str]:
        """Items that every model has."""
        catalogs = [set(oracle.bundle.catalog.ids) for oracle in self.oracles.values()]
        return sorted(set.intersection(*catalogs))

    def _resume(self) -> None:
        if self.paused:
            os.kill(self.cache.pid, signal.SIGCONT)
            self.paused = False


SWAP_VALUES = """
local one, other = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
if one and other then redis.call('SET', KEYS[1], other) redis.call('SET', KEYS[2], one) end
return 1
"""
STEPS_BY_WEIGHT = (
    (World.rate, 8), (World.take_back, 4), (World.replace, 2), (World.swap, 2),
    (World.lose_cache, 1), (World.pause_cache, 1), (World.garble_cache, 3),
    (World.restart_ratings, 1),
)  # fmt: skip


def _words(reply: bytes) -> list[str]:
    """The strings in an array that Redis replied."""
    return [line.decode() for line in reply.split(b"\r\n")[2::2]]


@contextmanager
def world(folder: Path, bundles: list[Bundle], executor: ThreadPoolExecutor) -> Iterator[World]:
    """A service of the first bundle, and everything it stands on."""
    folders = [folder / name for name in ("cache", "ratings")]
    for made in folders:
        made.mkdir()
    cache, ratings = map(RedisServer, folders)
    cache.start()
    ratings.start(*DURABLE)
    pointer = folder / "active-model"
    activate(str(bundles[0].path), pointer)
    environment = PATIENT_CACHE | {
        "USHER_MODEL_POINTER": str(pointer),
        "USHER_CACHE_URL": cache.url,
        "USHER_RATINGS_URL": ratings.url,
        "USHER_CACHE_TIMEOUT_MS": "100",
        "USHER_CACHE_REST_MS": "50",
        "USHER_RATINGS_TIMEOUT_MS": "20000",
    }
    oracles = {bundle.digest: Oracle(bundle, executor) for bundle in bundles}
    known = bundles[0].users.ids[0].decode()
    digest = bundles[0].digest
    try:
        with running_service(folder, **environment) as service:
            yield World(
                service, cache, ratings, pointer, oracles, known, [digest],
                {user: {} for user in USERS},
            )  # fmt: skip
            assert "Traceback" not in service.log.read_text()
    finally:
        cache.stop()
        ratings.stop()


@pytest.mark.parametrize("seed", [1, 2])
def test_no_walk_yields_a_wrong_or_stale_answer(tmp_path: Path, bundle: Bundle, seed: int) -> None:
    rng = random.Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of torch
        others = [tiny_bundle(tmp_path / f"other-{seed}", seed=seed) for seed in (1, 2)]
    steps, weights = zip(*STEPS_BY_WEIGHT, strict=True)
    with (
        ThreadPoolExecutor(CALLERS) as callers,
        ThreadPoolExecutor(1) as graphs,
        world(tmp_path, [bundle, *others], graphs) as here,
    ):
        # The bundles have other histories of this user: start from one that is the same in both.
        assert here.service.client.delete(f"{here.path('known')}/ratings").status_code == 204
        here.check(callers)
        taken = []
        for _ in range(STEPS):
            step = rng.choices(steps, weights)[0]
            taken.append(step.__name__)
            step(here, rng)
            here.check(callers)
        here._resume()
        await_condition(lambda: here.told_model() == here.activated[-1], "the last model answers")
        here.check(callers)
        metrics = here.service.client.get("/metrics").text
    assert set(taken) == {step.__name__ for step in steps}
    assert 'usher_cache_reads_total{outcome="hit"}' in metrics
    assert 'usher_cache_reads_total{outcome="foreign"}' in metrics


def test_answers_during_a_write_are_of_the_history_before_it_or_after(
    tmp_path: Path, bundle: Bundle
) -> None:
    """Readers race a writer of the same user: an answer is of one history that stood meanwhile."""
    rng = random.Random(3)
    with (
        ThreadPoolExecutor(CALLERS) as callers,
        ThreadPoolExecutor(1) as graphs,
        world(tmp_path, [bundle], graphs) as here,
    ):
        oracle = here.oracles[bundle.digest]
        history: dict[str, float] = {}
        seen_before = seen_after = 0
        for _ in range(60):
            after = dict(history)
            after[rng.choice(here._items())] = float(rng.randint(1, 5))
            changed_item = next((i for i in after if after[i] != history.get(i)), None)
            if changed_item is None:  # the same stars again
                continue
            asked = [callers.submit(here._ask, "new.1") for _ in range(CALLERS)]
            answer = here.service.client.put(
                f"{here.path('new.1')}/ratings/{changed_item}",
                json={"rating": after[changed_item]},
            )
            assert answer.status_code == 200
            asked_late = [callers.submit(here._ask, "new.1") for _ in range(CALLERS)]
            before_items, after_items = oracle.items(history), oracle.items(after)
            for early in asked:
                items = early.result()["items"]
                is_before = difference(items, before_items) is None
                is_after = difference(items, after_items) is None
                assert is_before or is_after
                seen_before, seen_after = seen_before + is_before, seen_after + is_after
            for late in asked_late:
                assert difference(late.result()["items"], after_items) is None
            history = after
    assert seen_before
    assert seen_after
