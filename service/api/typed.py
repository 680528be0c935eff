"""What the typed BentoML method is asked with, checked before BentoML reads it.

BentoML refuses a body in its own words, and takes one that is marked as something else than JSON
for a mistake of the service. Its clients and those of other BentoML services send JSON.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from service.api.parsing import read_body
from service.schemas import Id


class RecommendArguments(BaseModel):
    """The arguments of the method `recommend`; their bounds are looked at there."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id
    k: int = 10
    exclude: list[str] | None = None
    genre: list[str] | None = None
    year_min: int | None = None
    year_max: int | None = None
    include_seen: bool = False


def check_recommend(body: bytes) -> None:
    """Raises MalformedRequest for what is no JSON, InvalidRequest for what are no arguments."""
    read_body(RecommendArguments, body)
