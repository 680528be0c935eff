"""What the API refuses over HTTP and in which words, and how it reads a query."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from service.api.parsing import read_query
from service.errors import InvalidRequest
from service.schemas import Selection
from tests.api_parts import problem

# ---- errors


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("k=0", "query k"),
        ("k=101", "query k"),
        ("k=ten", "query k"),
        ("k=1&k=2", "query k"),
        ("k=" + "9" * 5000, "query k"),
        ("genre=Knitting", "Knitting"),
        ("exclude=no-such-item", "no-such-item"),
        ("exclude=a%20b", "query exclude 0"),
        ("year_min=MCMXC", "query year_min"),
        ("year_min=2000&year_max=1990", "year_min is later"),
        ("include_seen=perhaps", "query include_seen"),
        ("gener=Comedy", "query gener: there is no such parameter"),
        ("k=5&limit=3", "query limit"),
    ],
)
def test_a_bad_parameter_is_named(client: httpx.Client, query: str, told: str) -> None:
    document = problem(client.get(f"/v1/users/1/recommendations?{query}"), 422)
    assert told in document["detail"]
    assert len(document["detail"]) < 500


@pytest.mark.parametrize("user_id", ["x" * 300, "a b", "ü", "a:b", "%00"])
def test_an_impossible_id_is_refused(client: httpx.Client, user_id: str) -> None:
    document = problem(client.get(f"/v1/users/{user_id}/recommendations"), 422)
    assert "A-Za-z0-9._-" in document["detail"]


def test_a_line_feed_in_a_path_is_refused_like_any_error(client: httpx.Client) -> None:
    document = problem(client.get("/v1/users/1%0A/recommendations"), 400)
    assert "line feed" in document["detail"]


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("recommendations", {}, "give either ratings or user_ids"),
        ("recommendations", {"ratings": [], "user_ids": ["1"]}, "either ratings or user_ids"),
        ("recommendations", {"ratings": [], "k": "ten"}, "body k"),
        ("recommendations", {"ratings": [], "k": "10"}, "body k"),
        ("recommendations", {"ratings": [], "k": 101}, "body k"),
        ("recommendations", {"ratings": [], "kk": 1}, "body kk"),
        ("recommendations", {"ratings": [{"item_id": "1", "rating": "4"}]}, "body ratings 0"),
        ("recommendations", {"ratings": [{"item_id": "1", "rating": 5.5}]}, "0.5 to 5"),
        ("recommendations", {"ratings": [{"item_id": "1", "rating": 4}] * 2}, "rated twice"),
        ("recommendations", {"ratings": [{"item_id": "zzz", "rating": 4}]}, "no item zzz"),
        ("recommendations", {"user_ids": []}, "body user_ids"),
        ("recommendations", {"user_ids": ["1"] * 101}, "body user_ids"),
        ("recommendations", {"user_ids": ["x" * 300]}, "body user_ids 0"),
        ("predictions", {"user_id": "1", "item_ids": ["zzz", "1", "yyy"]}, "no item yyy, zzz"),
        ("predictions", {"user_id": "1", "item_ids": []}, "body item_ids"),
        ("predictions", {"item_ids": ["1"]}, "give either user_id or ratings"),
        ("predictions", [1], "body"),
    ],
)
def test_a_bad_body_is_named(client: httpx.Client, path: str, body: object, told: str) -> None:
    document = problem(client.post(f"/v1/{path}", json=body), 422)
    assert told in document["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"ratings": [}'])
def test_what_is_not_json_is_malformed(client: httpx.Client, body: bytes) -> None:
    problem(client.post("/v1/recommendations", content=body), 400)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(client: httpx.Client, number: str) -> None:
    body = f'{{"ratings": [{{"item_id": "1", "rating": {number}}}]}}'
    response = client.post("/v1/recommendations", content=body)
    assert response.status_code in (400, 422)
    problem(response, response.status_code)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/users/1/recommendations", 200),
        ("/v1/users/%31/recommendations", 200),
        ("/v1/users/recommendations/recommendations", 200),
        ("/v1/users//recommendations", 404),
        ("/v1/users/recommendations", 404),
        ("/v1/users/1/recommendations/", 404),
        ("/v1/users/a/b/recommendations", 404),
        ("/v1/users/a%2Fb/recommendations", 404),
        ("/v1/users/%20/recommendations", 422),
    ],
)
def test_the_hottest_address_is_no_wider_than_its_pattern(
    client: httpx.Client, path: str, status: int
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    if status == 200:
        same = client.get(path.replace("%31", "1"))
        assert answer.json()["items"] == same.json()["items"]
        assert answer.headers["content-type"] == "application/json"
        assert int(answer.headers["content-length"]) == len(answer.content)


def test_addresses_and_methods_there_are_not(client: httpx.Client) -> None:
    problem(client.get("/v1/nothing"), 404)
    problem(client.get("/v1/users/1/recommendations/"), 404)
    problem(client.get("/v1/users//recommendations"), 404)
    wrong = client.delete("/v1/users/1/recommendations")
    problem(wrong, 405)
    assert wrong.headers["Allow"] == "GET, HEAD"
    assert "no parameters" in problem(client.get("/v1/model?x=1"), 422)["detail"]


# ---- the parser is what the document says


values = st.sampled_from(["1", "0", "100", "101", "-1", "true", "no", "1990", "Drama", "a", "é"])
names = st.sampled_from([*Selection.model_fields, "genre", "exclude", "other"])


@given(pairs=st.lists(st.tuples(names, values), max_size=5))
def test_a_query_is_read_as_its_model_reads_it(pairs: list[tuple[str, str]]) -> None:
    """pydantic on the plain values is the oracle; repeating a single value is refused besides."""
    plain: dict[str, Any] = {}
    for name, value in pairs:
        if name in ("genre", "exclude"):
            plain.setdefault(name, []).append(value)
        else:
            plain[name] = value
    single = [name for name, _ in pairs if name not in ("genre", "exclude")]
    try:
        expected = TypeAdapter(Selection).validate_python(plain)
    except ValueError:
        expected = None
    query = urlencode(pairs).encode()
    if expected is None or len(set(single)) < len(single):
        with pytest.raises(InvalidRequest):
            read_query(Selection, query)
    else:
        assert read_query(Selection, query) == expected
