"""The engine: two of the bundle's graphs in onnxruntime sessions, called with whole batches.

It turns jobs into the flat arrays the graphs take and the graphs' outputs into one answer per
job; who is batched with whom is the micro-batcher's to say, and what an answer means the
recommender's. Calls block, so they belong in an executor's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.bundle import Bundle
from models.histories import Histories
from service.errors import ModelNotServable
from service.filters import ItemFilter
from service.graph_calls import RATE_OUTPUTS, RECOMMEND_OUTPUTS, check_graphs
from service.providers import (
    ONNX_NAMES,
    engine_folder,
    forbids_cpu,
    gpu_kind,
    in_use,
    open_session,
    preload_libraries,
    requested,
)
from service.rounding import Rounding
from service.settings import Provider

FEW = 20
"""Up to this k jobs share a run: 64 users take 8 ms for 10 items each and 21 ms for 100."""


@dataclass(frozen=True, slots=True)
class RankJob:
    """The best k items a filter allows, but for the excluded ones, for one history.

    history: one row. excluded: int64 [E], item indices. k: beyond the bundle's top_k, that.
    """

    history: Histories
    excluded: NDArray[np.int64]
    filter: ItemFilter
    k: int

    def weigh(self) -> int:
        """Ratings to encode and items to exclude."""
        return len(self.history.items) + len(self.excluded)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best items that were allowed, best first; all arrays are [at most k].

    thousandths: scores, ratings and the ends of their intervals as `Rounding.of_rankings` has them.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    ratings: NDArray[np.float32]
    spreads: NDArray[np.float32]
    thousandths: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RateJob:
    """Predict ratings and preference scores of items (int64 [T]) for one history (one row)."""

    history: Histories
    items: NDArray[np.int64]

    def weigh(self) -> int:
        """Ratings to encode and ratings to predict."""
        return len(self.history.items) + len(self.items)


@dataclass(frozen=True, slots=True)
class Estimates:
    """Predicted ratings, their spreads and the preference scores, float32 [T] each."""

    ratings: NDArray[np.float32]
    spreads: NDArray[np.float32]
    scores: NDArray[np.float32]


class Engine:
    """The two sessions of a bundle.

    Raises ModelNotServable if the graphs are not those this service calls, or cannot be loaded.
    """

    def __init__(
        self,
        bundle: Bundle,
        allowed: Sequence[Provider] = ("cpu",),
        engine_cache: Path | None = None,
    ) -> None:
        """engine_cache: under which TensorRT keeps what it builds, if it may be used."""
        self.allowed = tuple(allowed)
        check_graphs(bundle.manifest)
        engines = None
        if engine_cache is not None and "tensorrt" in self.allowed:
            engines = engine_folder(engine_cache, bundle.digest, gpu_kind())
            engines.mkdir(parents=True, exist_ok=True)
        preload_libraries(requested(self.allowed))
        self._top_k = bundle.manifest.top_k
        self._rounding = Rounding(bundle.manifest)
        self._recommend = _open_recommend(bundle, self.allowed, engines)
        # Copies of its weights that are quicker to multiply with would only take memory: this
        # graph answers few requests, and a batch of 64 takes 3% longer without them.
        self._rate = _open_session(str(bundle.rate_graph), self.allowed, engines, packed=False)

    @property
    def providers(self) -> tuple[str, ...]:
        """What the sessions really run on, without repetition."""
        return tuple(dict.fromkeys((in_use(self._recommend), in_use(self._rate))))

    @property
    def as_allowed(self) -> bool:
        """Whether they run on what was allowed."""
        return set(self.providers) <= set(self.allowed)

    def rank(self, jobs: Sequence[RankJob]) -> list[Ranking]:
        """Answer a batch of ranking jobs, in order; those of one filter and a like k run together.

        A run selects the largest k of its jobs for all of them, and that takes as long as k is.
        """
        alike: dict[object, list[int]] = {}
        for number, job in enumerate(jobs):
            alike.setdefault((job.filter.key, job.k > FEW), []).append(number)
        answers: dict[int, Ranking] = {}
        for numbers in alike.values():
            ranked = self._rank_alike([jobs[number] for number in numbers])
            answers.update(zip(numbers, ranked, strict=True))
        return [answers[number] for number in range(len(jobs))]

    def _rank_alike(self, jobs: Sequence[RankJob]) -> list[Ranking]:
        """Answer jobs of one filter: it costs a run nothing as a mask over all its users."""
        excluded, excluded_offsets = _flat([job.excluded for job in jobs])
        feed = _history_feed([job.history for job in jobs]) | {
            "excluded_items": excluded,
            "excluded_offsets": excluded_offsets,
            "allowed": jobs[0].filter.allowed,
            "k": np.array(min(max(job.k for job in jobs), self._top_k), np.int64),
        }
        items, scores, ratings, spreads = self._recommend.run(RECOMMEND_OUTPUTS, feed)
        kept = np.isfinite(scores).sum(axis=1)  # allowed items come first, the rest score -inf
        ends = (min(job.k, n) for job, n in zip(jobs, kept.tolist(), strict=True))
        rows = self._rounding.of_rankings(scores, ratings, spreads)
        return [
            Ranking(items[b, :n], scores[b, :n], ratings[b, :n], spreads[b, :n], rows[b, :, :n])
            for b, n in enumerate(ends)
        ]

    def rate(self, jobs: Sequence[RateJob]) -> list[Estimates]:
        """Answer a batch of rating jobs, in order."""
        targets, offsets = _flat([job.items for job in jobs])
        feed = _history_feed([job.history for job in jobs]) | {
            "target_items": targets,
            "target_rows": np.repeat(np.arange(len(jobs), dtype=np.int64), np.diff(offsets)),
        }
        ratings, spreads, scores = self._rate.run(RATE_OUTPUTS, feed)
        bounds = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        return [Estimates(ratings[a:b], spreads[a:b], scores[a:b]) for a, b in bounds]


def _history_feed(histories: Sequence[Histories]) -> dict[str, NDArray[Any]]:
    batch = Histories.concatenate(histories)
    return {
        "history_items": batch.items,
        "history_ratings": batch.ratings,
        "history_offsets": batch.offsets,
    }


def _flat(parts: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Arrays one after another, and the offsets of each (int64 [B + 1])."""
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return np.concatenate(parts), offsets


def _open_recommend(
    bundle: Bundle, allowed: Sequence[Provider], engines: Path | None
) -> ort.InferenceSession:
    """The graph that selects in float32 on a GPU; on a CPU, the one that selects on int8."""
    exact, int8 = str(bundle.recommend_graph), bundle.recommend_int8_graph
    if int8 is None:
        return _open_session(exact, allowed, engines)
    if requested(allowed) != [ONNX_NAMES["cpu"]]:
        session = _open_session(exact, allowed, engines)
        if in_use(session) != "cpu":  # else it has fallen back
            return session
    return _open_session(str(int8), allowed, engines)


def _open_session(
    path: str, allowed: Sequence[Provider], engines: Path | None, *, packed: bool = True
) -> ort.InferenceSession:
    """A session of one thread that does not spin: workers and batches are the parallelism.

    More threads would be wrong on a CPU: onnxruntime's ScatterND, which sums histories, adds to the
    same row from several threads without a lock (microsoft/onnxruntime#18048).
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # plans for one size, and keeps the memory of each it saw
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_prepacking", "0" if packed else "1")
    if forbids_cpu(allowed):
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    providers = requested(allowed)
    if not providers:
        raise ModelNotServable(
            f"This onnxruntime has none of the providers {', '.join(allowed)}; it has "
            f"{', '.join(ort.get_available_providers())}."
        )
    try:
        return open_session(path, options, providers, engines)
    except Exception as error:  # onnxruntime's errors share no base class
        reason = str(error).strip().splitlines()[0]
        if forbids_cpu(allowed) and gpu_kind() is None:  # onnxruntime's reason names neither
            raise ModelNotServable(
                f"No NVIDIA GPU is seen here, and USHER_PROVIDERS allows {', '.join(allowed)}: "
                f"give this machine or container its GPU, or allow cpu. onnxruntime says: {reason}"
            ) from None
        raise ModelNotServable(f"onnxruntime cannot load {path}: {reason}") from None
