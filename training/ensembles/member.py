"""The members of an ensemble, as a configuration lists them.

A member is the configuration itself but for what it overrides. All share one teacher, which costs
more time than all the rest.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from training.section import Section

Kind = Literal["hybrid-vae", "ridge-fold-in"]


class RidgeSettings(Section):
    """A closed-form member on the teacher's item factors; it rates and does not rank."""

    implicit_ridge: float = Field(6.0, gt=0)
    """Ridge penalty of the map from which items were rated to the prior mean; histories are of
    unit length."""


class Member(Section):
    """One model of an ensemble."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")
    """What reports call it, and its folder in the run's."""
    kind: Kind = "hybrid-vae"
    """A network of its own, or the closed form on the teacher's item factors."""
    seed_offset: int = Field(0, ge=0, lt=2**31)
    """Added to the configuration's seed; the teacher's seed stays."""
    network: dict[str, Any] = Field({})
    """Overrides of the configuration's network."""
    training: dict[str, Any] = Field({})
    """Overrides of the configuration's training."""
    ridge: RidgeSettings | None = None
    """Settings of kind ridge-fold-in."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "ridge-fold-in" and (self.network or self.training or self.seed_offset):
            raise ValueError(
                f"the member {self.name} is closed-form: it has no network, training or seed to "
                "override"
            )
        if self.kind == "hybrid-vae" and self.ridge:
            raise ValueError(f"the member {self.name} is a network: it has no ridge settings")
        return self


def overridden(content: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """`content` with nested values replaced; sections are merged, anything else replaced."""
    merged = dict(content)
    for key, value in overrides.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            value = overridden(before, value)
        merged[key] = value
    return merged
