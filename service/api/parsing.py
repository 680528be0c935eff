"""Reads requests into what an endpoint's signature asks for.

FastAPI documents an endpoint from its signature; `ParsedRoute` reads the request for that same
signature, in a fraction of the time and strictly: a parameter nobody knows is an error, JSON
numbers are numbers, and every error names the part of the request that was at fault.

    user_id, item_id    from the path
    Annotated[M, Query()]  the query string, as the model M
    body                   the JSON body, as the model it is annotated with
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import lru_cache, partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi.params import Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Fault, InvalidRequest, MalformedRequest
from service.schemas import is_id

PATH_IDS = ("user_id", "item_id")
REMEMBERED_LENGTH = 256  # longer query strings are read anew each time
NAMED_FAULTS = 10

M = TypeVar("M", bound=BaseModel)
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Reader = Callable[[Request], Awaitable[Any]]


class ParsedRoute(APIRoute):
    """A route whose endpoint gets its arguments from this module."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Without the stacks of contexts that FastAPI opens for dependencies: there are none.
        self.app = _application(self.get_route_handler())

    def get_route_handler(self) -> Handler:
        """Read what the endpoint's signature asks for, and call it."""
        endpoint = self.endpoint
        readers, takes_query = _readers_of(endpoint)

        async def handle(request: Request) -> Response:
            if request.scope["query_string"] and not takes_query:
                raise InvalidRequest("query: this address takes no parameters.")
            arguments = {name: await read(request) for name, read in readers}
            response: Response = await endpoint(request, **arguments)
            return response

        return handle


def _application(handle: Handler) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handle(Request(scope, receive, send))
        await response(scope, receive, send)

    return answer


def _readers_of(endpoint: Callable[..., Any]) -> tuple[list[tuple[str, Reader]], bool]:
    """A reader for each parameter but the request, and whether one reads the query string."""
    models = typing.get_type_hints(endpoint)
    hints = typing.get_type_hints(endpoint, include_extras=True)
    readers: list[tuple[str, Reader]] = []
    takes_query = False
    for name in inspect.signature(endpoint).parameters:
        if name in PATH_IDS:
            readers.append((name, _id_reader(name)))
        elif any(isinstance(mark, Query) for mark in getattr(hints[name], "__metadata__", ())):
            readers.append((name, _query_reader(models[name])))
            takes_query = True
        elif name != "request":
            readers.append((name, _body_reader(models[name])))
    return readers, takes_query


def _id_reader(name: str) -> Reader:
    async def read(request: Request) -> str:
        value: str = request.path_params[name]
        check_id(value, name)
        return value

    return read


def check_id(value: str, name: str = "user_id") -> None:
    """Raises InvalidRequest, naming it, for what cannot be an id."""
    if is_id(value) is None:
        detail = "an id has 1 to 128 characters from A-Za-z0-9._-"
        raise InvalidRequest(f"{name}: {detail}.", [Fault(name, detail)])


def _query_reader(model: type[BaseModel]) -> Reader:
    read_anew = partial(read_query, model)
    remembered = lru_cache(maxsize=1024)(read_anew)

    async def read(request: Request) -> BaseModel:
        query: bytes = request.scope["query_string"]
        return remembered(query) if len(query) <= REMEMBERED_LENGTH else read_anew(query)

    return read


def _body_reader(model: type[BaseModel]) -> Reader:
    async def read(request: Request) -> BaseModel:
        return read_body(model, await request.body())

    return read


def read_query(model: type[M], query: bytes) -> M:
    """A query string as `model`, UTF-8, escaped or not; an empty value is as good as none.

    Raises InvalidRequest for an unknown name, a value out of bounds, or a repeated name unless
    the model has several values for it.
    """
    values: dict[str, Any] = {}
    many_valued = _many_valued(model)
    for name, value in parse_qsl(query.decode("utf-8", "replace")):
        if name in many_valued:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise _refused([Fault(f"query {name[:64]}", "it is given more than once")])
        else:
            values[name] = value
    return check_values(model, values, "query")


@lru_cache
def _many_valued(model: type[BaseModel]) -> frozenset[str]:
    """Names of the fields that are tuples."""
    fields = model.model_fields.items()
    return frozenset(n for n, field in fields if typing.get_origin(field.annotation) is tuple)


def check_values(model: type[M], values: Mapping[str, Any], part: str) -> M:
    """Values by name as `model`. Raises InvalidRequest, naming `part` of the request."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refused(_faults(model, part, error)) from None


def read_body(model: type[M], body: bytes) -> M:
    """The body as `model`. Raises MalformedRequest if it is not JSON, else InvalidRequest."""
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        faults = _faults(model, "body", error)
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise MalformedRequest(f"{_sentence(faults[0])}", faults) from None
        raise _refused(faults) from None


def _faults(model: type[BaseModel], part: str, error: ValidationError) -> list[Fault]:
    known = ", ".join(model.model_fields)
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
