"""Those who call the service meanwhile: writers who check every answer, readers, strangers.

A writer owns its users, so that it always knows what was acknowledged of them. What a refused
write (503) has done nobody knows; its writer asks, once it can, and takes either as the truth.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import httpx

from tests.oracle import Oracle, difference

ANSWERED = "GET /v1/users/{user_id}/recommendations"


@dataclass
class Book:
    """What was seen: answers by status, latencies by moment, and everything that was wrong."""

    oracles: dict[str, Oracle]
    activated: list[str]
    """Digests in the order they were activated, from the latest that has surely answered."""
    earlier: int = 0
    """How many were activated before those."""
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """(moment, milliseconds) of recommendations answered with 200."""
    wrong: list[str] = field(default_factory=list)
    checked: int = 0

    def surely(self) -> int:
        """The place, among all activations, of the latest that has surely answered."""
        return self.earlier

    def answered_by(self, digest: str, floor: int) -> None:
        """Note which model answered a request that began when `floor` was `surely`."""
        places = [
            place for place, known in enumerate(self.activated, self.earlier) if known == digest
        ]
        if not places and floor == self.earlier:
            self.wrong.append(f"an earlier model came back: {digest[:12]}")
        elif places and places[0] > self.earlier:
            self.activated = self.activated[places[0] - self.earlier :]
            self.earlier = places[0]


@dataclass
class Callers:
    """All callers of one run, at `rate` requests a second together."""

    client: httpx.AsyncClient
    book: Book
    rate: float
    rng: random.Random
    readers_of: list[str]
    items: list[str]
    scale: list[float]
    histories: dict[str, dict[str, float]] = field(default_factory=dict)
    stopping: bool = False

    async def run(self, writers: int, readers: int) -> None:
        """Call until `stopping`; then check that nothing acknowledged was lost."""
        pause = (writers + readers) / self.rate
        tasks = [self._write(f"soak.{n}", pause) for n in range(writers)]
        tasks += [self._read(pause) for _ in range(readers)]
        await asyncio.gather(*tasks)
        for user, history in self.histories.items():
            kept = await self._kept(user)
            if kept != history:
                self.book.wrong.append(f"{user} has {len(kept)} ratings, not {len(history)}")

    async def _write(self, user: str, pause: float) -> None:
        """Rate, take back, and look at what is recommended each time."""
        history = self.histories[user] = {}
        while not self.stopping:
            await self._paced(pause, lambda: self._change(user, history))
            await self._paced(pause, lambda: self._look(user, history))

    async def _read(self, pause: float) -> None:
        """Ask for users nobody changes, the same ones again and again, and for strangers."""
        while not self.stopping:
            known = self.rng.random() < 0.9
            user = self.rng.choice(self.readers_of) if known else f"stranger.{self.rng.random()}"
            await self._paced(pause, partial(self._recommended, user))

    async def _paced(self, pause: float, call: Callable[[], Any]) -> None:
        began = perf_counter()
        try:
            await call()
        except httpx.TransportError as error:
            self.book.wrong.append(f"no answer at all: {error!r}")
        await asyncio.sleep(max(0.0, self.rng.uniform(0.5, 1.5) * pause - perf_counter() + began))

    async def _change(self, user: str, history: dict[str, float]) -> None:
        item = self.rng.choice(self.items)
        after = dict(history)
        if (item in history and self.rng.random() < 0.5) or len(history) > 40:
            item = self.rng.choice(sorted(history))
            after.pop(item)
            answer = await self.client.delete(f"/v1/users/{user}/ratings/{item}")
        else:
            after[item] = self.rng.choice(self.scale)
            body = {"rating": after[item]}
            answer = await self.client.put(f"/v1/users/{user}/ratings/{item}", json=body)
        self.book.statuses["change", answer.status_code] += 1
        if answer.status_code == 503:
            kept = await self._kept(user)
            if kept not in (history, after):
                self.book.wrong.append(f"{user}: a refused change left a third history")
            after = kept
        elif answer.status_code not in (200, 204):
            self.book.wrong.append(f"a change was answered {answer.status_code}: {answer.text}")
        history.clear()
        history.update(after)

    async def _look(self, user: str, history: dict[str, float]) -> None:
        found = await self._recommended(user)
        if found is None:
            return
        expected = await self.book.oracles[found["model"]["digest"]].items_soon(history)
        self.book.checked += 1
        apart = difference(found["items"], expected)
        if apart is not None:
            self.book.wrong.append(f"{user}, {len(history)} ratings: {apart}")

    async def _recommended(self, user: str) -> dict[str, Any] | None:
        """A user's recommendations; None if they were refused with 503."""
        began, floor = perf_counter(), self.book.surely()
        answer = await self.client.get(f"/v1/users/{user}/recommendations")
        self.book.statuses[ANSWERED, answer.status_code] += 1
        if answer.status_code != 200:
            if answer.status_code != 503:
                self.book.wrong.append(f"recommendations: {answer.status_code} {answer.text}")
            return None
        self.book.latencies.append((began, 1000 * (perf_counter() - began)))
        document: dict[str, Any] = answer.json()
        self.book.answered_by(document["model"]["digest"], floor)
        return document

    async def _kept(self, user: str) -> dict[str, float]:
        """What the service has of a user, once it can say."""
        while True:
            answer = await self.client.get(f"/v1/users/{user}/ratings")
            if answer.status_code == 200:
                return {row["item_id"]: row["rating"] for row in answer.json()["ratings"]}
            if answer.status_code != 503:
                self.book.wrong.append(f"ratings: {answer.status_code} {answer.text}")
                return {}
            await asyncio.sleep(0.25)
