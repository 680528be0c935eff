"""What a run is to compute, and the record that stays beside its parts.

Parts of two runs may stand side by side if their plans are equal: the same bundle, the same
parameters, the same users cut the same way.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict

from service.schemas import ModelName, Selection


class Record(BaseModel):
    """Immutable, and nothing beyond the named fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Plan(Record):
    """One run; users_digest is the SHA-256 of the ids in order, a line each."""

    format_version: Literal[1] = 1
    model: ModelName
    selection: Selection
    coverage: float
    """Of the intervals: the share of ratings they should contain."""
    given_ratings: bool
    """Whether what a ratings Redis holds was laid over the bundle's histories."""
    users: int
    users_digest: str
    part_users: int

    @property
    def digest(self) -> str:
        """Names the plan; every part carries it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.users // self.part_users)

    def stretch(self, part: int) -> slice:
        """The users of one part."""
        start = part * self.part_users
        return slice(start, min(start + self.part_users, self.users))

    def difference(self, earlier: Plan) -> str | None:
        """What tells this plan from an earlier one, in words; None if nothing does."""
        if self.model != earlier.model:
            return f"the model usher:{earlier.model.version}"
        if self.selection != earlier.selection:
            return f"other parameters ({earlier.selection.model_dump_json(exclude_defaults=True)})"
        if self.given_ratings != earlier.given_ratings:
            return f"{'' if earlier.given_ratings else 'no '}ratings of a ratings Redis"
        if self.users_digest != earlier.users_digest:
            return f"other users ({earlier.users:,} of them)"
        if self.part_users != earlier.part_users:
            return f"parts of {earlier.part_users:,} users"
        return None if self == earlier else "another version of Usher"


class PartRecord(Record):
    """What one part holds. short_users: those with fewer than k items."""

    name: str
    users: int
    rows: int
    cold_start_users: int
    short_users: int
    bytes: int = 0


class Manifest(Record):
    """A folder's record; `finished_at` and the parts are told once all of them are there."""

    plan: Plan
    started_at: str
    finished_at: str | None = None
    parts: tuple[PartRecord, ...] = ()


def canonical(selection: Selection) -> Selection:
    """The selection of one meaning: order and repetition of ids and genres do not matter."""
    return selection.model_copy(
        update={
            "genre": tuple(sorted(set(selection.genre))),
            "exclude": tuple(sorted(set(selection.exclude))),
        }
    )
