"""What a batch has done, for a person or as JSON."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.batch.plan import PartRecord, Plan


@dataclass(frozen=True)
class Summary:
    """users, rows, bytes: of all parts. The rate is of those that were computed now.

    cpu_s: user and system time of the whole process; peak_rss_mb: pages it shares included.
    cache: entries by outcome; None where none was to be warmed.
    """

    out: str | None
    model: Mapping[str, str]
    k: int
    users: int
    rows: int
    parts: int
    bytes: int
    cold_start_users: int
    short_users: int
    parts_kept: int
    users_computed: int
    seconds: float
    users_per_s: float
    cpu_s: float
    peak_rss_mb: float
    cache: Mapping[str, int] | None

    @staticmethod
    def of(
        out: str | None,
        plan: Plan,
        kept: Sequence[PartRecord],
        made: Sequence[PartRecord],
        seconds: float,
        cache: Mapping[str, int] | None,
    ) -> Summary:
        """Of a run that has ended: the parts it found, and those it made."""
        parts, computed = [*kept, *made], sum(part.users for part in made)
        used = resource.getrusage(resource.RUSAGE_SELF)
        unit = 1 if sys.platform == "darwin" else 1024
        return Summary(
            out=out,
            model=plan.model.model_dump(),
            k=plan.selection.k,
            users=plan.users,
            rows=sum(part.rows for part in parts),
            parts=len(parts),
            bytes=sum(part.bytes for part in parts),
            cold_start_users=sum(part.cold_start_users for part in parts),
            short_users=sum(part.short_users for part in parts),
            parts_kept=len(kept),
            users_computed=computed,
            seconds=round(seconds, 2),
            users_per_s=round(computed / seconds, 1) if computed else 0.0,
            cpu_s=round(used.ru_utime + used.ru_stime, 2),
            peak_rss_mb=round(used.ru_maxrss * unit / 1e6, 1),
            cache=cache,
        )

    def text(self) -> str:
        """In a few lines."""
        lines = [
            f"{self.users_computed:,} users in {self.seconds:,.1f} s, {self.users_per_s:,.0f} a "
            f"second, by usher:{self.model['version']}; {self.cpu_s:,.1f} s of CPU, "
            f"{self.peak_rss_mb:,.0f} MB of memory at most."
        ]
        if self.out is not None:
            kept = f", {self.parts_kept} of them kept from before" if self.parts_kept else ""
            lines.append(
                f"{self.rows:,} recommendations to {self.users:,} users are in {self.out}: "
                f"{self.parts} parts{kept}, {self.bytes / 1e6:,.1f} MB."
            )
        if self.short_users:
            lines.append(f"{self.short_users:,} users have fewer than {self.k} items.")
        if self.cache is not None:
            lines.append(f"{self.cache['stored']:,} answers are in the cache.")
        return "\n".join(lines)
