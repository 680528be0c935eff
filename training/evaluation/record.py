"""What the parts of a report are made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A part of a report: immutable; fields of newer versions are ignored."""

    model_config = ConfigDict(frozen=True)
