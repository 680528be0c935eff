"""What a batch is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.schemas import Selection


@dataclass(frozen=True)
class Order:
    """`selection` in its canonical form. `out`: None where only the cache is to be warmed."""

    selection: Selection
    out: Path | None
    users_file: Path | None
    part_users: int
    threads: int
    again: bool
    warm: bool
