"""What is wrong with settings, in the words of a sentence: where, what, and what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from training.suggestions import meant


def first_problem(error: ValidationError, of: type[BaseModel]) -> str:
    """The first thing that keeps values from being an `of`; a mistyped name with those near it."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        *parents, last = first["loc"]
        return f"{place}: there is no such setting{meant(str(last), _names(of, parents))}"
    return f"{place}: {first['msg']} (got {first['input']!r})"


def _names(of: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Names of the settings below a path; places in a list are passed over."""
    for part in path:
        if isinstance(part, str) and part in of.model_fields:
            of = next(_sections(of.model_fields[part].annotation), of)
    return list(of.model_fields)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The kinds of section that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inside in get_args(annotation):
        yield from _sections(inside)
