"""What travels over HTTP of the model: what it is, how good it is, what can be asked of it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Providers(BaseModel):
    """What the model was to run on, and what it runs on."""

    configured: list[str]
    in_use: list[str]


class Years(BaseModel):
    """The earliest and the latest year of the catalogue's items."""

    first: int
    last: int


class ModelCard(BaseModel):
    """What the model is and how good it is on ratings it never saw."""

    version: str
    digest: str
    created_at: str
    code_version: str
    as_of: int | None
    rating_scale: dict[str, float]
    data: dict[str, Any]
    protocol: dict[str, Any]
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    calibration: dict[str, float | None]
    parity: dict[str, float]
    configuration: dict[str, Any]
    users: int
    items: int
    genres: list[str]
    years: Years | None = Field(description="null where no item's year is known")
    providers: Providers
