"""Tables of everything that can be set: the service's environment, a configuration's keys."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from service.settings import Settings
from training.config import Configuration
from training.ensembles.member import Member


def environment() -> str:
    """Every variable the service reads."""
    rows = [
        f"| `USHER_{name.upper()}` | {_told(field)} | {_default(field)} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | meaning | unset |", "|---|---|---|", *rows])


def configuration_keys() -> str:
    """Every key of a configuration, sections in turn."""
    sections: list[tuple[str, type[BaseModel]]] = [("", Configuration)]
    sections += _sections("", Configuration)
    sections += [("ensemble[].", Member), *_sections("ensemble[].", Member)]
    return "\n\n".join(_section(prefix, model) for prefix, model in sections)


def _section(prefix: str, model: type[BaseModel]) -> str:
    title = f"### {prefix.rstrip('.') or 'the run itself'}"
    about = (model.__doc__ or "").split("\n\n")[0].strip().replace("\n", " ")
    rows = [
        f"| `{prefix}{name}` | {_kind(field.annotation)} | {_default(field)} | {_told(field)} |"
        for name, field in model.model_fields.items()
        if _model_of(field.annotation) is None
    ]
    return "\n".join(
        [title, about, "", "| key | values | default | meaning |", "|---|---|---|---|", *rows]
    )


def _sections(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        section = _model_of(field.annotation)
        if section is not None and section is not Member:
            yield f"{prefix}{name}.", section
            yield from _sections(f"{prefix}{name}.", section)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The section an annotation stands for, perhaps an optional one or a tuple of them."""
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
        if typing.get_origin(part) is tuple and (inner := _model_of(typing.get_args(part)[0])):
            return inner
    return None


def _told(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "-"
    if isinstance(value, tuple):
        value = ",".join(str(part) for part in value)
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" if value not in (None, "", {}) else "-"


def _kind(annotation: Any) -> str:
    """What may stand there, in words."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_kind(part) for part in parts if part is not type(None))
    if origin is typing.Annotated:
        return _kind(parts[0])
    if origin is tuple:
        return f"list of {_kind(parts[0])}"
    if origin is dict:
        return "keys and values"
    names = {"int": "whole number", "float": "number", "bool": "true, false", "str": "text"}
    return names.get(getattr(annotation, "__name__", ""), str(annotation))
