"""The Parquet parts of one plan: those a folder has already, and those that are added to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.batch.folder import OutputFolder, part_name
from service.batch.parquet import ParquetWriter, read_metadata
from service.batch.plan import Manifest, PartRecord, Plan
from service.batch.rows import Rows
from service.errors import BatchRefused


class ParquetSink:
    """Keeps what belongs to `plan` in `folder`."""

    def __init__(
        self, folder: OutputFolder, plan: Plan, newcomers: NDArray[np.bytes_], writer: ParquetWriter
    ) -> None:
        """Go on with what an equal plan has begun, or begin.

        Raises BatchRefused where the folder holds parts of another plan, or all of this one's.
        """
        self._folder = folder
        self._plan = plan
        self._writer = writer
        earlier = folder.manifest()
        if earlier is None:
            folder.clear()
            earlier = Manifest(plan=plan, started_at=_now())
            folder.begin(earlier, newcomers)
        elif difference := plan.difference(earlier.plan):
            raise BatchRefused(
                f"{folder.path} holds parts of a run with {difference}: name another folder, or "
                "add --again to replace them."
            )
        elif folder.finished:
            raise BatchRefused(
                f"{folder.path} holds all parts already, finished at {earlier.finished_at}: name "
                "another folder, or add --again to make them anew."
            )
        self._started_at = earlier.started_at

    def found(self, part: int) -> PartRecord | None:
        """What an earlier run has made of a part."""
        path = self._folder.path / part_name(part)
        metadata = read_metadata(path)
        if metadata.get("usher.plan") != self._plan.digest:
            return None
        try:
            record = PartRecord.model_validate_json(metadata.get("usher.part", ""))
        except ValidationError:
            return None
        return record.model_copy(update={"bytes": path.stat().st_size})

    def add(self, part: int, users: NDArray[np.bytes_], rows: Rows) -> PartRecord:
        """Write a part; blocks. Raises BatchRefused where the disk says no."""
        record = rows.record(part_name(part))
        plan = self._plan
        content = self._writer.part(
            users,
            rows,
            {
                "usher.plan": plan.digest,
                "usher.part": record.model_dump_json(),
                "usher.model": plan.model.version,
                "usher.model_digest": plan.model.digest,
                "usher.selection": plan.selection.model_dump_json(),
                "usher.coverage": str(plan.coverage),
                "usher.created_at": _now(),
            },
        )
        self._folder.write(record.name, content)
        return record.model_copy(update={"bytes": len(content)})

    def finish(self, parts: Sequence[PartRecord]) -> None:
        """Tell that these are all."""
        self._folder.finish(
            Manifest(
                plan=self._plan,
                started_at=self._started_at,
                finished_at=_now(),
                parts=tuple(parts),
            )
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
