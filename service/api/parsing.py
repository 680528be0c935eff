"""Reads requests into what an endpoint's signature asks for.

FastAPI documents an endpoint from its signature; `ParsedRoute` reads the request for that same
signature, in a fraction of the time and strictly: a parameter nobody knows is an error, JSON
numbers are numbers, and every error names the part of the request that was at fault.

    user_id    from the path; so is item_id
    selection  from the query string
    body       from the JSON body; its annotation is the model it must fit
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.errors import Fault, InvalidRequest, MalformedRequest
from service.schemas import Selection, is_id

MANY_VALUED = {"exclude", "genre"}
REMEMBERED_LENGTH = 256  # longer query strings are read anew each time
NAMED_FAULTS = 10

M = TypeVar("M", bound=BaseModel)
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Reader = Callable[[Request], Awaitable[Any]]


class ParsedRoute(APIRoute):
    """A route whose endpoint gets its arguments from this module."""

    def get_route_handler(self) -> Handler:
        """Read what the endpoint's signature asks for, and call it."""
        endpoint = self.endpoint
        readers = _readers_of(endpoint)
        takes_query = "selection" in dict(readers)

        async def handle(request: Request) -> Response:
            if request.scope["query_string"] and not takes_query:
                raise InvalidRequest("query: this address takes no parameters.")
            arguments = {name: await read(request) for name, read in readers}
            response: Response = await endpoint(request, **arguments)
            return response

        return handle


def _readers_of(endpoint: Callable[..., Any]) -> list[tuple[str, Reader]]:
    hints = typing.get_type_hints(endpoint)
    names = [name for name in inspect.signature(endpoint).parameters if name != "request"]
    fixed: dict[str, Reader] = {
        "user_id": _id_reader("user_id"),
        "item_id": _id_reader("item_id"),
        "selection": _selection,
    }
    return [(name, fixed.get(name) or _body_reader(hints[name])) for name in names]


def _id_reader(name: str) -> Reader:
    async def read(request: Request) -> str:
        given: str = request.path_params[name]
        check_id(given, name)
        return given

    return read


async def _selection(request: Request) -> Selection:
    query: bytes = request.scope["query_string"]
    return _remembered(query) if len(query) <= REMEMBERED_LENGTH else read_selection(query)


def check_id(given: str, name: str = "user_id") -> None:
    """Raises InvalidRequest, naming the parameter, for what cannot be an id."""
    if is_id(given) is None:
        detail = "an id has 1 to 128 characters from A-Za-z0-9._-"
        raise InvalidRequest(f"{name}: {detail}.", [Fault(name, detail)])


def _body_reader(model: type[BaseModel]) -> Reader:
    async def read(request: Request) -> BaseModel:
        return read_body(model, await request.body())

    return read


def read_selection(query: bytes) -> Selection:
    """The selection a query string makes; an empty value is as good as none.

    Raises InvalidRequest for an unknown name, a repeated one, or a value out of bounds.
    """
    values: dict[str, Any] = {}
    for name, value in parse_qsl(query.decode("latin-1")):
        if name in MANY_VALUED:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise _refused([Fault(f"query {name[:64]}", "it is given more than once")])
        else:
            values[name] = value
    return check_selection(values, "query")


def check_selection(values: Mapping[str, Any], part: str) -> Selection:
    """Values by name as a selection. Raises InvalidRequest, naming `part` of the request."""
    try:
        return Selection.model_validate(values)
    except ValidationError as error:
        raise _refused(_faults(part, error)) from None


_remembered = lru_cache(maxsize=1024)(read_selection)


def read_body(model: type[M], body: bytes) -> M:
    """The body as `model`. Raises MalformedRequest if it is not JSON, else InvalidRequest."""
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        faults = _faults("body", error)
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise MalformedRequest(f"{_sentence(faults[0])}", faults) from None
        raise _refused(faults) from None


def _faults(part: str, error: ValidationError) -> list[Fault]:
    known = ", ".join(Selection.model_fields)
    faults = []
    for found in error.errors(include_url=False, include_input=False)[:NAMED_FAULTS]:
        where = " ".join([part, *(str(step)[:64] for step in found["loc"])])
        detail = found["msg"].removeprefix("Value error, ")
        if found["type"] == "extra_forbidden" and part == "query":
            detail = f"there is no such parameter; there are {known}"
        faults.append(Fault(where, detail))
    return faults


def _refused(faults: list[Fault]) -> InvalidRequest:
    return InvalidRequest(_sentence(faults[0]), faults)


def _sentence(fault: Fault) -> str:
    return f"{fault.where}: {fault.detail}."
