"""Rounds of load on running systems, in turns: what one round slows, it slows for all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

import numpy as np
import uvloop

from models.bundle import Bundle
from tests.benchmarks.serving.load import Timed, ask_all, keep_busy
from tests.benchmarks.serving.record import Row
from tests.benchmarks.serving.systems import Question, Server
from tests.service_fixtures import RedisServer

HIT_QUESTIONS = 200


class Wrong(Exception):
    """A system did not do the job it was measured at."""


@dataclass(frozen=True)
class Round:
    """What one round of one system gave."""

    timed: Timed
    cpu_us_per_request: float


def questions(bundle: Bundle, seed: int) -> Iterator[Question]:
    """Every user with every item, in random order: nothing is asked twice."""
    rng = np.random.default_rng(seed)
    users, items = bundle.users.ids, bundle.catalog.ids
    excluded = rng.permutation(len(items))
    for turn in range(len(items)):
        for user in rng.permutation(len(users)):
            item = excluded[(user + turn) % len(items)]
            yield Question(users[user].decode(), items[item])


def check_agreement(servers: Sequence[Server], bundle: Bundle) -> None:
    """All of them recommend the same items to 20 users. Raises Wrong."""
    asked = list(itertools.islice(questions(bundle, seed=99), 20))
    answers = {}
    for server in servers:
        bodies = uvloop.run(ask_all(server.port, [server.system.ask(q) for q in asked]))
        answers[server.system.name] = [server.system.items(body) for body in bodies]
    first = next(iter(answers.values()))
    for name, found in answers.items():
        if found != first or any(len(items) != 10 for items in found):
            raise Wrong(f"{name} does not recommend what {next(iter(answers))} does.")


def measure_misses(
    servers: Sequence[Server],
    bundle: Bundle,
    redis: RedisServer,
    connections: int,
    rounds: int,
    seconds: float,
    seeds: Iterator[int],
) -> dict[str, list[Round]]:
    """Rounds of questions that were not asked before; every answer must end up in the cache.

    Raises Wrong where the cache has not grown by as many entries as there were answers.
    """

    def once(server: Server) -> Round:
        redis.command("FLUSHALL")
        asked = map(server.system.ask, questions(bundle, next(seeds)))
        done = _round(server, servers, asked, connections, seconds)
        stored = int(redis.command("DBSIZE").strip(b":\r\n"))
        # What was asked on the last moment may be stored a moment later.
        answers = len(done.timed.latencies_ms)
        if abs(stored - answers) > connections:
            raise Wrong(f"{server.system.name} stored {stored} of its {answers} answers.")
        return done

    return _in_turns(servers, rounds, once)


def measure_hits(
    servers: Sequence[Server],
    bundle: Bundle,
    redis: RedisServer,
    connections: int,
    rounds: int,
    seconds: float,
) -> dict[str, list[Round]]:
    """Rounds of the same questions, which the cache holds. Raises Wrong if it grows meanwhile."""
    asked = list(itertools.islice(questions(bundle, seed=0), HIT_QUESTIONS))
    redis.command("FLUSHALL")
    for server in servers:  # the floor cannot answer: it reads what another peer has stored
        if server.system.name != "starlette-get":
            uvloop.run(ask_all(server.port, [server.system.ask(question) for question in asked]))
    stored = redis.command("DBSIZE")

    def once(server: Server) -> Round:
        requests = itertools.cycle([server.system.ask(question) for question in asked])
        return _round(server, servers, requests, connections, seconds)

    found = _in_turns(servers, rounds, once)
    if redis.command("DBSIZE") != stored:
        raise Wrong("Something was asked that the cache did not hold.")
    return found


def _in_turns(
    servers: Sequence[Server], rounds: int, once: Callable[[Server], Round]
) -> dict[str, list[Round]]:
    """So many rounds of each, one after the other."""
    found: dict[str, list[Round]] = {server.system.name: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            found[server.system.name].append(once(server))
    return found


def _round(
    server: Server,
    servers: Sequence[Server],
    requests: Iterator[bytes],
    connections: int,
    seconds: float,
) -> Round:
    """One round of one system, the others paused."""
    with ExitStack() as stack:
        for other in servers:
            if other is not server:
                stack.enter_context(other.paused())
        before = server.cpu_seconds()
        timed = uvloop.run(keep_busy(server.port, requests, connections, seconds))
        spent = server.cpu_seconds() - before
    return Round(timed, 1e6 * spent / len(timed.latencies_ms))


def rows_of(
    scenario: str,
    catalogue: str,
    connections: int,
    servers: Sequence[Server],
    rounds: Mapping[str, Sequence[Round]],
    workers: int = 1,
) -> list[Row]:
    """The median of each figure over the rounds."""
    return [
        Row(
            scenario=scenario,
            system=server.system.name,
            catalogue=catalogue,
            connections=connections,
            workers=workers,
            rps=round(median(r.timed.per_second for r in rounds[server.system.name]), 1),
            cpu_us_per_request=round(
                median(r.cpu_us_per_request for r in rounds[server.system.name]), 1
            ),
            p50_ms=_percentile(rounds[server.system.name], 50),
            p99_ms=_percentile(rounds[server.system.name], 99),
            rss_mb=round(server.rss_mb(), 1),
        )
        for server in servers
    ]


def _percentile(rounds: Sequence[Round], percent: float) -> float:
    each = [float(np.percentile(done.timed.latencies_ms, percent)) for done in rounds]
    return round(median(each), 3)
