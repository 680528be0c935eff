"""One batch from beginning to end: the model, the users, part after part, the record.

It uses the very parts a worker of the service does, put together without HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from models.bundle import Bundle
from service.answers import AnswerWriter, model_members
from service.batch.computation import Computation
from service.batch.folder import OutputFolder, held_folder, part_name
from service.batch.plan import PartRecord, Plan, canonical
from service.batch.progress import Progress
from service.batch.summary import Summary
from service.batch.users import digest_of, newcomers, users_in, with_newcomers
from service.batch.warming import Warming
from service.bundles import find_bundle
from service.engine import Engine
from service.errors import BatchRefused, ModelNotServable
from service.metrics import Metrics
from service.schemas import ModelName, Selection
from service.serving import histories_of, limits_of, open_cache, open_store
from service.settings import Settings
from service.stores.cache import AnswerCache

if TYPE_CHECKING:
    from service.batch.sink import ParquetSink

CACHE_TIMEOUT_MS = 1000  # at least: nobody waits here, and a busy machine is no broken cache


@dataclass(frozen=True)
class Order:
    """What is asked for. `out`: None where only the cache is to be warmed."""

    selection: Selection
    out: Path | None
    users_file: Path | None
    part_users: int
    threads: int
    again: bool
    warm: bool


@dataclass(frozen=True)
class Outcome:
    """What was done, and what did not go well with the cache."""

    summary: Summary
    complaint: str | None


async def recommend_all(order: Order, settings: Settings, progress: Progress) -> Outcome:
    """Do what is asked for.

    Raises BundleError, BatchRefused, RatingsUnavailable, UnknownItem, UnknownGenre,
    ModelNotServable; parts that are finished by then stay.
    """
    if order.out is not None:
        _require_polars()
    if order.warm and settings.cache_url is None:
        raise BatchRefused(
            "There is no cache to warm: set USHER_CACHE_URL to the service's, or let `make run` "
            "serve from this folder meanwhile."
        )
    listed = users_in(order.users_file) if order.users_file is not None else None
    with _folder(order.out) as folder, ThreadPoolExecutor(order.threads) as executor:
        run = Run(order, settings, progress, folder, executor)
        try:
            return await run.through(listed)
        finally:
            await run.close()


class Run:
    """The parts of one batch, put together."""

    def __init__(
        self,
        order: Order,
        settings: Settings,
        progress: Progress,
        folder: OutputFolder | None,
        executor: ThreadPoolExecutor,
    ) -> None:
        metrics = Metrics(CollectorRegistry())
        self._order = order
        self._progress = progress
        self._folder = folder
        self._bundle = find_bundle(settings.model, None, settings.model_pointer)
        self._answers = AnswerWriter(self._bundle)
        self._store = open_store(settings, metrics, None)
        self._cache = _patient_cache(settings, metrics)
        selection = canonical(order.selection)
        self._warming = (
            Warming(self._cache, self._answers, self._bundle, selection) if order.warm else None
        )
        self._computation = Computation(
            self._bundle,
            _engine(self._bundle, settings),
            histories_of(self._bundle, self._store),
            selection,
            limits_of(settings),
            executor,
            order.threads,
            self._warming,
        )

    async def through(self, listed: NDArray[np.bytes_] | None) -> Outcome:
        """All of it, for the users listed or for everybody."""
        await self._computation.begin()
        others = np.zeros(0, "S1") if listed is not None else await self._newcomers()
        users = with_newcomers(self._bundle.users.ids, others) if listed is None else listed
        plan = self._plan(users)
        sink = self._sink(plan, others)
        kept = {p: found for p in range(plan.parts) if sink and (found := sink.found(p))}
        self._progress.begin(plan.users - sum(record.users for record in kept.values()))
        began = time.monotonic()
        made = {
            part: await self._part(part, users[plan.stretch(part)], sink)
            for part in range(plan.parts)
            if part not in kept
        }
        seconds = time.monotonic() - began
        if sink is not None:
            sink.finish([record for _, record in sorted((kept | made).items())])
        cache = dict(self._warming.outcomes) if self._warming else None
        out = None if self._order.out is None else str(self._order.out)
        parts = (list(kept.values()), list(made.values()))
        complaint = await self._warming.complaint() if self._warming else None
        return Outcome(Summary.of(out, plan, *parts, seconds, cache), complaint)

    async def close(self) -> None:
        """Let go of both Redis, and of the terminal's line."""
        self._progress.end()
        await self._cache.close()
        if self._store is not None:
            await self._store.close()

    async def _newcomers(self) -> NDArray[np.bytes_]:
        """Users that only the ratings Redis knows; of a run that is gone on with, those it knew."""
        folder, again = self._folder, self._order.again
        if folder is not None and not again and folder.manifest() is not None:
            return folder.newcomers()
        found = await self._store.user_ids() if self._store is not None else ()
        return newcomers(self._bundle.users.ids, found)

    def _plan(self, users: NDArray[np.bytes_]) -> Plan:
        return Plan(
            model=ModelName(**model_members(self._bundle)),
            selection=canonical(self._order.selection),
            coverage=self._bundle.manifest.calibration.coverage,
            given_ratings=self._store is not None,
            users=len(users),
            users_digest=digest_of(users),
            part_users=self._order.part_users,
        )

    def _sink(self, plan: Plan, others: NDArray[np.bytes_]) -> ParquetSink | None:
        if self._folder is None:
            return None
        from service.batch.parquet import ParquetWriter
        from service.batch.sink import ParquetSink

        if self._order.again:
            self._folder.clear()
        writer = ParquetWriter(self._bundle.catalog, self._answers)
        return ParquetSink(self._folder, plan, others, writer)

    async def _part(
        self, part: int, users: NDArray[np.bytes_], sink: ParquetSink | None
    ) -> PartRecord:
        rows = await self._computation.rows_of(users, self._progress.add)
        if sink is None:
            return rows.record(part_name(part))
        return await asyncio.to_thread(sink.add, part, users, rows)


def _require_polars() -> None:
    try:
        import polars  # noqa: F401
    except ImportError:
        raise BatchRefused(
            "Parquet is written by polars, which the service does without and is not installed "
            "here: pip install polars, or warm the cache alone with --warm-only."
        ) from None


@contextmanager
def _folder(path: Path | None) -> Iterator[OutputFolder | None]:
    if path is None:
        yield None
    else:
        with held_folder(path) as folder:
            yield folder


def _engine(bundle: Bundle, settings: Settings) -> Engine:
    engine = Engine(bundle, settings.providers, settings.engine_cache)
    if not engine.as_allowed:
        raise ModelNotServable(
            f"The graphs run on {', '.join(engine.providers)}, which USHER_PROVIDERS does not "
            "allow."
        )
    return engine


def _patient_cache(settings: Settings, metrics: Metrics) -> AnswerCache:
    patience = max(settings.cache_timeout_ms, CACHE_TIMEOUT_MS)
    return open_cache(settings.model_copy(update={"cache_timeout_ms": patience}), metrics, None)
