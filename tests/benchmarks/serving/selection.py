"""The graph alone: selection on int8 against float32, in time and in what is selected."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from training.export import recommend_inputs, same_ranking
from training.onnx_files import cpu_session

USERS, BATCH = 10_000, 50
TURNS = 12


def compare(bundle: Bundle, users: int = USERS) -> dict[str, Any]:
    """Milliseconds of batches of 1 and 64 in turns, and shares of users whose answers are equal.

    What they have rated is excluded. The bundle must have a graph that selects on int8.
    """
    graphs = {"fp32": bundle.recommend_graph, "int8": bundle.recommend_int8_graph}
    sessions = {name: cpu_session(Path(path)) for name, path in graphs.items() if path}
    found: dict[str, Any] = {"users": 0}
    for batch in (1, 64):
        for k in (10, 100):
            times = _times(sessions, bundle, batch, k)
            for name, took in times.items():
                found[f"{name}_ms_batch_{batch}_k_{k}"] = round(1000 * took, 3)
    chosen = users_of_all_lengths(bundle, users)
    found["users"] = len(chosen)
    for k in (10, 100):
        same = [
            _same(sessions, bundle, chosen[start : start + BATCH], k)
            for start in range(0, len(chosen), BATCH)
        ]
        found[f"same_top_{k}"] = float(np.concatenate(same).mean())
    return found


def users_of_all_lengths(bundle: Bundle, users: int) -> NDArray[np.int64]:
    """Rows of the longest and the shortest histories and others between, evenly by length."""
    order = np.argsort(bundle.users.histories.lengths, kind="stable").astype(np.int64)
    chosen: NDArray[np.int64] = order[
        np.linspace(0, len(order) - 1, min(users, len(order))).astype(np.int64)
    ]
    return chosen


def _feed(bundle: Bundle, rows: NDArray[np.int64], k: int) -> dict[str, NDArray[Any]]:
    return recommend_inputs(bundle.users.histories.take(rows), len(bundle.catalog), k)


def _times(sessions: dict[str, Any], bundle: Bundle, batch: int, k: int) -> dict[str, float]:
    """Median seconds of each graph, in turns of ten runs for users drawn anew.

    A service runs one graph: what of it the processor's caches hold stays there between requests.
    """
    rng = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(TURNS):
        for name, session in sessions.items():
            for _ in range(10):
                feed = _feed(bundle, rng.integers(0, len(bundle.users), batch), k)
                began = time.perf_counter()
                session.run(None, feed)
                seconds[name].append(time.perf_counter() - began)
    return {name: median(each) for name, each in seconds.items()}


def _same(
    sessions: dict[str, Any], bundle: Bundle, rows: NDArray[np.int64], k: int
) -> NDArray[np.bool_]:
    feed = _feed(bundle, rows, k)
    answers = [session.run(None, feed) for session in sessions.values()]
    return same_ranking(answers[0], answers[-1])
