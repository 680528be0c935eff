"""What the OpenAPI document says, as tables and examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from service.api import create_api
from service.serving import Serving

Operation = dict[str, Any]


def openapi_document() -> dict[str, Any]:
    """The document of /v1/openapi.json, as a service without keys gives it."""
    document: dict[str, Any] = create_api(Serving()).openapi()
    return document


def routes() -> str:
    """Every call with what it takes."""
    rows = ["| call | what it does | parameters |", "|---|---|---|"]
    for method, path, operation in _operations(openapi_document()):
        named = ", ".join(f"`{p['name']}`" for p in operation.get("parameters", ()))
        taken = ", ".join(part for part in (named, _body_name(operation)) if part)
        rows.append(f"| `{method} {path}` | {operation['summary']} | {taken or '-'} |")
    return "\n".join(rows)


def examples() -> str:
    """The example of every kind of answer and of every body that is sent."""
    document = openapi_document()
    parts = []
    for name, schema in sorted(document["components"]["schemas"].items()):
        for example in schema.get("examples", ())[:1]:
            text = json.dumps(example, indent=2, ensure_ascii=False)
            parts.append(f"**{name}**\n\n```json\n{text}\n```")
    return "\n\n".join(parts)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, Operation]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _body_name(operation: Operation) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    return f"body: {schema['$ref'].rsplit('/', 1)[1]}" if "$ref" in schema else ""
