"""What every response has, whoever made it: a request id; and HEAD wherever there is a GET."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import Bundle
from service.api.typed import RecommendArguments
from service.edge.request_ids import RequestIds
from tests.service_fixtures import Service, running_service

TOP_TEN = "/v1/users/1/recommendations"
IDS = RequestIds(random.Random(0))
MADE = re.compile("[0-9a-f]{32}")


# ---- request ids


@given(text=st.text(st.characters(max_codepoint=255), max_size=140))
def test_a_name_is_kept_and_anything_else_replaced(text: str) -> None:
    """The rule written out, character by character, is the oracle."""
    allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
    valid = 1 <= len(text) <= 128 and all(character in allowed for character in text)
    named = IDS.of({b"x-request-id": text.encode("latin-1")})
    assert (named == text) is valid or MADE.fullmatch(text)
    assert valid or MADE.fullmatch(named)


@given(length=st.integers(1, 140))
def test_the_length_of_a_name_is_bounded(length: int) -> None:
    assert (IDS.of({b"x-request-id": b"a" * length}) == "a" * length) is (length <= 128)


def test_made_ids_differ() -> None:
    made = [IDS.of({}) for _ in range(10_000)]
    assert len(set(made)) == len(made)
    assert all(MADE.fullmatch(name) for name in made)


def responses(client: httpx.Client, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """One response of every kind there is."""
    etag = client.get(TOP_TEN).headers["ETag"]
    yield client.get(TOP_TEN, headers=headers)
    yield client.get(TOP_TEN, headers=headers | {"If-None-Match": etag})
    yield client.head(TOP_TEN, headers=headers)
    yield client.get(TOP_TEN + "?k=0", headers=headers)
    yield client.get(TOP_TEN + "?genre=Knitting", headers=headers)
    yield client.get("/v1/users/1%0A/recommendations", headers=headers)
    yield client.delete(TOP_TEN, headers=headers)
    yield client.get("/v1/nothing", headers=headers)
    yield client.get("/nothing", headers=headers)
    yield client.get("/", headers=headers)
    yield client.get("/livez", headers=headers)
    yield client.get("/metrics", headers=headers)
    yield client.get("/docs.json", headers=headers)
    yield client.get("/v1/openapi.json", headers=headers)
    yield client.post("/v1/predictions", content=b"{", headers=headers)
    yield client.post("/v1/predictions", content=b" " * 1_000_001, headers=headers)
    yield client.post("/recommend", json={"user_id": "1"}, headers=headers)
    yield client.post("/recommend", json={"user_id": "x" * 300}, headers=headers)


def test_every_response_names_its_request_once(service: Service) -> None:
    answers = list(responses(service.client, {"X-Request-ID": "my.request-1_A"}))
    assert {answer.headers.get("x-request-id") for answer in answers} == {"my.request-1_A"}
    statuses = {answer.status_code for answer in answers}
    assert statuses >= {200, 304, 400, 404, 405, 413, 422}
    problems = [a for a in answers if a.headers.get("content-type") == "application/problem+json"]
    assert len(problems) >= 8
    for answer in problems:
        assert answer.json()["instance"] == "urn:usher:request:my.request-1_A"


def test_each_request_gets_a_name_of_its_own(service: Service) -> None:
    answers = list(responses(service.client, {"X-Request-ID": "no name, this"}))
    answers += [service.client.get("/") for _ in range(3)]  # one response object, sent thrice
    named = [answer.headers["x-request-id"] for answer in answers]
    assert all(MADE.fullmatch(name) for name in named)
    assert len(set(named)) == len(named)
    for answer in answers:
        if answer.headers.get("content-type") == "application/problem+json":
            assert answer.json()["instance"].endswith(answer.headers["x-request-id"])


# ---- bodies for BentoML


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (b"", 400, "body"),
        (b"{", 400, "body"),
        (b"null", 422, "body"),
        (b'{"user_id": "1", "year": 1990}', 422, "body year"),
        (b'{"user_id": 1}', 422, "body user_id"),
        (b'{"k": 3}', 422, "body user_id"),
        (b'{"user_id": "1", "k": 101}', 422, "k"),
        (b'{"user_id": "1", "k": 3}', 200, "items"),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "text/plain", None])
def test_what_is_wrong_with_typed_arguments_is_a_problem_whatever_they_are_marked_as(
    service: Service, content: bytes, status: int, told: str, kind: str | None
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = service.client.post("/recommend", content=content, headers=headers)
    assert answer.status_code == status
    assert told in answer.text
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in service.log.read_text()


def test_typed_arguments_are_those_of_the_method(bentoml_service: Any) -> None:
    fields = bentoml_service.apis["recommend"].input_spec.model_fields
    checked = RecommendArguments.model_fields
    assert list(checked) == list(fields)
    for name, field in fields.items():
        assert checked[name].is_required() == field.is_required()
        assert checked[name].default == field.default


# ---- HEAD


def test_head_answers_as_get_without_the_body(service: Service) -> None:
    client = service.client
    client.get(TOP_TEN)  # so that both find it in the cache
    etag = client.get(TOP_TEN).headers["ETag"]
    for path, headers in (
        (TOP_TEN, {}),
        (TOP_TEN, {"If-None-Match": etag}),
        (TOP_TEN + "?k=0", {}),
        ("/v1/model", {}),
        ("/v1/openapi.json", {}),
        ("/v1/nothing", {}),
        ("/", {}),
        ("/livez", {}),
        ("/readyz", {}),
    ):
        named = headers | {"X-Request-ID": "both"}
        got, asked = client.get(path, headers=named), client.head(path, headers=named)
        assert asked.status_code == got.status_code
        assert asked.content == b""
        without_date = ({k: v for k, v in a.headers.items() if k != "date"} for a in (asked, got))
        assert next(without_date) == next(without_date)
    assert client.head("/metrics").status_code == 200
    assert client.head("/v1/predictions").status_code == 405
    assert client.get(TOP_TEN).headers["X-Cache"] == "hit", "the connection is still in step"


def test_a_head_that_is_not_cached_is_computed_and_kept(service: Service) -> None:
    path = TOP_TEN + "?k=7&year_min=1971"
    asked, got = service.client.head(path), service.client.get(path)
    assert (asked.headers["X-Cache"], got.headers["X-Cache"]) == ("miss", "hit")
    assert asked.headers["content-length"] == str(len(got.content))


def test_a_computation_that_takes_too_long_names_its_request(
    tmp_path: Path, bundle: Bundle
) -> None:
    environment = {"USHER_MODEL": str(bundle.path), "USHER_REQUEST_TIMEOUT_S": "0.000001"}
    with running_service(tmp_path, **environment) as service:
        late = service.client.get(TOP_TEN, headers={"X-Request-ID": "late"})
        assert late.status_code == 504
        assert late.json()["instance"] == "urn:usher:request:late"
