"""What `make accuracy` measures: cells of data, protocol, model and seed, and the part asked for.

A pattern of ONLY has the parts of a cell, `*` matches anything in a part:

    ml-1m   best   ml-1m:best   ml-1m:users:ease   *:temporal:*   ml-1m:random-1234:best:2

Data and protocol outside the table join it when named in full: ml-32m:random:best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from training.errors import ConfigurationError
from training.split import PROTOCOLS

SPLIT_SEED = 42
TABLE = (
    ("ml-100k", "official-u1"),
    ("ml-latest-small", "temporal"),
    ("ml-latest-small", "users"),
    ("ml-1m", "users"),
    ("ml-1m", "users-liked"),
    ("ml-1m", "random-1234"),
)
# Members of the blend come before it.
MODELS = (
    "bias", "popularity", "ease", "ials", "multvae", "svdpp", "myfm", "pairwise",
    "proven", "scaled", "best", "ensemble", "blend",
)  # fmt: skip
UNSEEDED = frozenset({"bias", "popularity", "ease"})
"""They draw nothing; their rows have no seed."""
REPEATED = frozenset({"myfm", "best", "ensemble", "blend"})
"""Their figures are medians of three seeds; the others are there to compare with."""
STARS_ONLY = frozenset({"svdpp", "myfm", "blend"})
HELD_OUT_USERS = frozenset({"users", "users-liked"})


@dataclass(frozen=True)
class Cell:
    """One model trained once on one data set by one protocol; seed None: it draws nothing."""

    data: str
    protocol: str
    model: str
    seed: int | None

    @property
    def name(self) -> str:
        """The cell as patterns and the record name it."""
        parts = (self.data, self.protocol, self.model)
        return ":".join(parts if self.seed is None else (*parts, str(self.seed)))


def planned(only: Sequence[str] = ()) -> list[Cell]:
    """The cells of the table that a pattern matches, all if there is none, in order of work.

    Raises ConfigurationError for a pattern that matches nothing.
    """
    table = [cell for data, protocol in TABLE for cell in _cells(data, protocol)]
    if not only:
        return table
    chosen = [_matching(pattern, table) for pattern in only]
    return list(dict.fromkeys(cell for cells in chosen for cell in cells))


def _cells(data: str, protocol: str) -> list[Cell]:
    return [
        Cell(data, protocol, model, seed)
        for model in MODELS
        if _answers(model, protocol)
        for seed in _seeds(model)
    ]


def _answers(model: str, protocol: str) -> bool:
    """Whether the model has an answer there; a blend needs members fitted on the users."""
    if protocol == "users-liked":
        return model not in STARS_ONLY
    return model != "blend" or protocol not in HELD_OUT_USERS


def _seeds(model: str) -> tuple[int | None, ...]:
    if model in UNSEEDED:
        return (None,)
    return (1, 2, 3) if model in REPEATED else (1,)


def _matching(pattern: str, table: list[Cell]) -> list[Cell]:
    parts = pattern.split(":")
    cells = [cell for cell in table if _matches(parts, cell)] or _beyond(parts)
    if not cells:
        raise ConfigurationError(
            f"Nothing to measure matches {pattern!r}: a pattern is data, model, data:model or "
            f"data:protocol:model[:seed], data one of {', '.join(dict(TABLE))}, "
            f"model one of {', '.join(MODELS)}."
        )
    return cells


def _matches(parts: list[str], cell: Cell) -> bool:
    every = [cell.data, cell.protocol, cell.model, str(cell.seed)]
    named = {
        1: [[cell.data], [cell.model]],
        2: [[cell.data, cell.model]],
        3: [every[:3]],
        4: [every],
    }
    return any(
        all(fnmatchcase(value, part) for value, part in zip(values, parts, strict=True))
        for values in named.get(len(parts), [])
    )


def _beyond(parts: list[str]) -> list[Cell]:
    """Cells named in full whose data or protocol the table does not have."""
    if len(parts) not in (3, 4) or parts[1] not in PROTOCOLS or parts[2] not in MODELS:
        return []
    if "*" in parts[0] or (parts[0], parts[1]) in TABLE:
        return []
    cells = [cell for cell in _cells(parts[0], parts[1]) if cell.model == parts[2]]
    if len(parts) == 4 and parts[3].isdigit():
        return [Cell(parts[0], parts[1], parts[2], int(parts[3]))]
    return cells[:1] if len(parts) == 3 else []
