"""One batch from beginning to end: the users, part after part, the record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.answers import model_members
from service.batch.equipment import Equipment, open_equipment
from service.batch.folder import OutputFolder, held_folder, part_name
from service.batch.order import Order
from service.batch.plan import PartRecord, Plan
from service.batch.progress import Progress
from service.batch.summary import Summary
from service.batch.users import digest_of, newcomers, users_in, with_newcomers
from service.errors import BatchRefused
from service.schemas import ModelName
from service.settings import Settings

if TYPE_CHECKING:
    from service.batch.sink import ParquetSink


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
    with _folder(order) as folder, ThreadPoolExecutor(order.threads) as executor:
        equipment = open_equipment(order, settings, executor)
        try:
            return await Run(order, equipment, progress, folder).through(listed)
        finally:
            progress.end()
            await equipment.close()


class Run:
    """One batch; `folder` is None where only the cache is warmed."""

    def __init__(
        self, order: Order, equipment: Equipment, progress: Progress, folder: OutputFolder | None
    ) -> None:
        self._order = order
        self._equipment = equipment
        self._progress = progress
        self._folder = folder

    async def through(self, listed: NDArray[np.bytes_] | None) -> Outcome:
        """All of it, for the users listed or for everybody."""
        await self._equipment.computation.begin()
        others = await self._newcomers() if listed is None else np.zeros(0, "S1")
        known = self._equipment.bundle.users.ids
        users = with_newcomers(known, others) if listed is None else listed
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
        return await self._outcome(plan, list(kept.values()), list(made.values()), seconds)

    async def _newcomers(self) -> NDArray[np.bytes_]:
        """Users that only the ratings Redis knows; of a run that is gone on with, those it knew."""
        folder, store = self._folder, self._equipment.store
        if folder is not None and not self._order.again and folder.manifest() is not None:
            return folder.newcomers()
        found = await store.user_ids() if store is not None else ()
        return newcomers(self._equipment.bundle.users.ids, found)

    def _plan(self, users: NDArray[np.bytes_]) -> Plan:
        bundle = self._equipment.bundle
        return Plan(
            model=ModelName(**model_members(bundle)),
            selection=self._order.selection,
            coverage=bundle.manifest.calibration.coverage,
            given_ratings=self._equipment.store is not None,
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
        writer = ParquetWriter(self._equipment.bundle)
        return ParquetSink(self._folder, plan, others, writer)

    async def _part(
        self, part: int, users: NDArray[np.bytes_], sink: ParquetSink | None
    ) -> PartRecord:
        rows = await self._equipment.computation.rows_of(users, self._progress.add)
        if sink is None:
            return rows.record(part_name(part))
        return await asyncio.to_thread(sink.add, part, users, rows)

    async def _outcome(
        self, plan: Plan, kept: list[PartRecord], made: list[PartRecord], seconds: float
    ) -> Outcome:
        out, warming = self._order.out, self._equipment.warming
        cache = dict(warming.outcomes) if warming is not None else None
        complaint = await warming.complaint() if warming is not None else None
        where = None if out is None else str(out)
        return Outcome(Summary.of(where, plan, kept, made, seconds, cache), complaint)


def _require_polars() -> None:
    if find_spec("polars") is None:
        raise BatchRefused(
            "Parquet is written by polars, which the service does without and is not installed "
            "here: pip install polars, or warm the cache alone with --warm-only."
        )


@contextmanager
def _folder(order: Order) -> Iterator[OutputFolder | None]:
    if order.out is None:
        yield None
    else:
        with held_folder(order.out) as folder:
            yield folder
