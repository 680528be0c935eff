"""What every part of a configuration is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: immutable, and nothing beyond the named fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
