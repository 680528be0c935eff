"""The list of users over HTTP, against a loop over the bundle's histories."""

from __future__ import annotations

import json
from typing import Any, cast

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import Bundle, UserHistories
from models.histories import Histories
from service.known_users import KnownUsers
from service.user_schemas import UserPage, UserQuery
from tests.api_parts import problem

IDS = st.text("aB.9-1", min_size=1, max_size=5)


def known_by_hand(ids: list[str], query: str | None) -> list[str]:
    """Which ids hold the query, in the order that is promised."""
    held = [i for i in ids if query is None or query in i]
    return sorted(held, key=lambda i: (query is not None and not i.startswith(query), len(i), i))


def test_pages_together_are_all_users(client: httpx.Client, bundle: Bundle) -> None:
    found: list[dict[str, Any]] = []
    for offset in range(0, 75, 25):
        answer = client.get("/v1/users", params={"limit": 25, "offset": offset}).json()
        UserPage.model_validate(answer)
        assert (answer["limit"], answer["offset"]) == (25, offset)
        assert answer["total"] == len(bundle.users)
        assert answer["model"] == {"version": "tiny", "digest": bundle.digest}
        found += answer["users"]
    expected = known_by_hand([user.decode() for user in bundle.users.ids], None)
    assert [user["user_id"] for user in found] == expected
    for user in found:
        history = bundle.users.history_of(user["user_id"])
        assert user["rating_count"] == len(history.items)
    assert len(client.get("/v1/users").json()["users"]) == 20


@pytest.mark.parametrize("query", ["1", "3", "12", "60", "zzz", "é", "%", "a b"])
def test_a_part_of_an_id_finds_it(client: httpx.Client, bundle: Bundle, query: str) -> None:
    answer = client.get("/v1/users", params={"query": query, "limit": 100}).json()
    expected = known_by_hand([user.decode() for user in bundle.users.ids], query)
    assert [user["user_id"] for user in answer["users"]] == expected
    assert answer["total"] == len(expected)


@pytest.mark.parametrize(
    ("query", "named"),
    [("limit=0", "limit"), ("limit=101", "limit"), ("offset=-1", "offset"), ("who=1", "who"),
     ("query=" + "1" * 129, "query")],
)  # fmt: skip
def test_bounds_are_kept_and_named(client: httpx.Client, query: str, named: str) -> None:
    assert named in problem(client.get(f"/v1/users?{query}"), 422)["detail"]


@given(
    lengths=st.dictionaries(IDS, st.integers(0, 3), min_size=1, max_size=12),
    query=st.none() | IDS | st.sampled_from(["", "\0", "é", "a\0"]),
    offset=st.integers(0, 5),
)
def test_any_ids_are_found_as_a_loop_does(
    bundle: Bundle, lengths: dict[str, int], query: str | None, offset: int
) -> None:
    ids = sorted(lengths)
    counts = np.array([lengths[i] for i in ids])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    histories = Histories(np.zeros(offsets[-1]), np.zeros(offsets[-1], np.float32), offsets)
    users = UserHistories(np.array(ids, "S"), histories)
    known = KnownUsers(cast(Bundle, _Bundle(bundle, users)))
    page = json.loads(known.page(UserQuery(query=query, limit=3, offset=offset)))
    rated = [i for i in ids if lengths[i]]
    expected = [] if query == "" else known_by_hand(rated, query)
    assert page["total"] == len(expected)
    assert page["users"] == [
        {"user_id": i, "rating_count": lengths[i]} for i in expected[offset : offset + 3]
    ]


class _Bundle:
    """A bundle with other users."""

    def __init__(self, bundle: Bundle, users: UserHistories) -> None:
        self.manifest, self.digest, self.users = bundle.manifest, bundle.digest, users
