"""API keys: who gets in, what the others are told, and that nobody is told a key."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send

from models.bundle import Bundle
from service.edge.gateway import Gateway
from service.edge.keys import KeyRing, is_key
from service.errors import SettingsRefused, Unauthorized
from service.metrics import Metrics
from service.serving import Serving
from service.settings import read_settings
from tests.service_fixtures import Service, running_service, start_service

KEYS = ("first-key-0123456789", "second/key+0123456789==")
TOP_TEN = "/v1/users/1/recommendations"
METRICS = Metrics(CollectorRegistry())


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Iterator[Service]:
    """A service with two keys."""
    environment = {"USHER_MODEL": str(bundle.path), "USHER_API_KEYS": ", ".join(KEYS)}
    with running_service(tmp_path_factory.mktemp("guarded"), **environment) as service:
        yield service


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# ---- which keys open


keys = st.text("abcAZ09._~+/=-", min_size=16, max_size=18)


@given(
    own=st.lists(keys, min_size=1, max_size=4),
    other=keys,
    pick=st.integers(0, 3),
    use=st.booleans(),
)
def test_exactly_the_keys_of_the_ring_open(
    own: list[str], other: str, pick: int, use: bool
) -> None:
    """Membership in a list is the oracle; a key is one, wherever in the list it is."""
    shown = own[pick % len(own)] if use else other
    ring = KeyRing(own, METRICS)
    for headers in (
        {b"x-api-key": shown.encode()},
        {b"authorization": b"Bearer " + shown.encode()},
        {b"authorization": b"bearer  " + shown.encode() + b" "},
        {b"authorization": b"Basic dXNlcjpwYXNz", b"x-api-key": shown.encode()},
    ):
        if shown in own:
            ring.check("/v1/model", headers)
        else:
            with pytest.raises(Unauthorized):
                ring.check("/v1/model", headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"authorization": b""},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Bearer "},
        {b"authorization": KEYS[0].encode()},
        {b"authorization": b"Basic " + KEYS[0].encode()},
        {b"x-api-key": b""},
        {b"x-api-key": b"\xff" * 20},
        {b"x-api-key": KEYS[0].upper().encode()},
        {b"x-api-key": KEYS[0][:-1].encode()},
        {b"x-api-key": ",".join(KEYS).encode()},
    ],
)
def test_anything_else_does_not(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Unauthorized):
        KeyRing(KEYS, METRICS).check("/v1/model", headers)


def test_without_keys_everything_is_open() -> None:
    KeyRing((), METRICS).check("/v1/model", {})


# ---- over HTTP


def test_everything_but_health_and_the_page_asks_for_a_key(guarded: Service) -> None:
    paths = [
        "/page/",
        "/page/none.js",
        "/metrics",
        "/recommend",
        "/docs.json",
        "/schema.json",
        "/nothing",
        "/livez/",
    ]
    document = guarded.client.get("/v1/openapi.json", headers=bearer(KEYS[0])).json()
    for path in [*paths, "/v1/openapi.json", "/v1/nothing", *document["paths"]]:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            assert guarded.client.request(method, path).status_code == 401, (method, path)
            for headers in (bearer(KEYS[0]), {"X-API-Key": KEYS[1]}):
                status = guarded.client.request(method, path, headers=headers).status_code
                assert status != 401, (method, path)
    for path in ("/livez", "/readyz", "/healthz"):
        assert guarded.client.get(path).status_code == 200


def test_the_typed_method_and_the_route_answer_who_has_a_key(guarded: Service) -> None:
    for headers in (bearer(KEYS[0]), {"X-API-Key": KEYS[1]}):
        route = guarded.client.get(TOP_TEN, headers=headers)
        typed = guarded.client.post("/recommend", json={"user_id": "1"}, headers=headers)
        assert (route.status_code, typed.status_code) == (200, 200)
        assert [i["item_id"] for i in typed.json()["items"]] == [
            i["item_id"] for i in route.json()["items"]
        ]


def test_the_refused_are_told_how_to_ask(guarded: Service) -> None:
    missing = guarded.client.get(TOP_TEN)
    wrong = guarded.client.get(TOP_TEN, headers=bearer("wrong-key-0123456789"))
    for answer, challenge in (
        (missing, 'Bearer realm="usher"'),
        (wrong, 'Bearer realm="usher", error="invalid_token"'),
    ):
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == challenge
        assert answer.json()["type"] == "urn:usher:problem:unauthorized"
        assert answer.json()["instance"].endswith(answer.headers["x-request-id"])
        assert "x-cache" not in answer.headers


def test_the_body_of_the_refused_is_not_awaited(guarded: Service) -> None:
    """With a body that never comes, whoever waited for it would answer 408."""
    url = httpx.URL(guarded.url)
    for framing in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
        with socket.create_connection((url.host, url.port), timeout=30) as connection:
            connection.sendall(
                b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n"
            )
            answer = connection.makefile("rb").read()  # to the end: the connection is closed
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"\r\nconnection: close\r\n" in answer


def test_who_sent_no_body_keeps_the_connection(guarded: Service) -> None:
    assert "connection" not in guarded.client.get(TOP_TEN).headers


def test_a_websocket_is_no_way_in_even_where_somebody_would_answer() -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Gateway(app, Serving())({"type": "websocket"}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_nothing_is_open_before_the_keys_are_known() -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/v1/model", "headers": []}
    asyncio.run(Gateway(app, Serving())(scope, receive, send))
    assert sent[0]["status"] == 503


def test_an_upgrade_is_refused_like_any_request(guarded: Service) -> None:
    url = httpx.URL(guarded.url)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="}
    answer = httpx.get(url.join("/v1/model"), headers=upgrade | key)
    assert answer.status_code in (401, 403)


def test_refusals_are_counted_by_reason(guarded: Service) -> None:
    def counted(reason: str) -> float:
        text = guarded.client.get("/metrics", headers=bearer(KEYS[0])).text
        name = f'usher_refused_keys_total{{reason="{reason}"}} '
        found = [line for line in text.splitlines() if line.startswith(name)]
        return float(found[0].removeprefix(name)) if found else 0.0

    missing, wrong = counted("missing"), counted("wrong")
    guarded.client.get(TOP_TEN)
    for _ in range(2):
        guarded.client.get(TOP_TEN, headers={"X-API-Key": "wrong-key-0123456789"})
    assert (counted("missing"), counted("wrong")) == (missing + 1, wrong + 2)


def test_the_description_says_whether_a_key_is_needed(guarded: Service, service: Service) -> None:
    keyed = guarded.client.get("/v1/openapi.json", headers=bearer(KEYS[0])).json()
    schemes = keyed["components"]["securitySchemes"]
    assert {name for need in keyed["security"] for name in need} == set(schemes)
    assert schemes["bearer"]["scheme"] == "bearer"
    assert (schemes["apiKey"]["in"], schemes["apiKey"]["name"]) == ("header", "X-API-Key")
    assert {} not in keyed["security"]
    assert {} in service.client.get("/v1/openapi.json").json()["security"]


def test_no_answer_and_no_log_tells_a_key(guarded: Service) -> None:
    almost = KEYS[0] + "x"
    answers = [
        guarded.client.get(TOP_TEN, headers=bearer(KEYS[0])),
        guarded.client.get(TOP_TEN, headers=bearer(almost)),
        guarded.client.get(TOP_TEN + f"?k=0&key={KEYS[1]}"),
        guarded.client.post("/v1/predictions", content=b"{", headers={"X-API-Key": KEYS[1]}),
        guarded.client.get("/metrics", headers=bearer(KEYS[0])),
    ]
    for text in [answer.text + str(answer.headers) for answer in answers]:
        assert not any(key in text for key in KEYS)
    log = guarded.log.read_text()
    assert not any(key in log for key in KEYS)


# ---- the setting


@pytest.mark.parametrize("key", ["short", "x" * 15, "x" * 129, "with a blank 0123", "ü" * 20])
@pytest.mark.parametrize("place", [0, 1])
def test_a_key_that_cannot_be_one_is_refused_untold(
    monkeypatch: pytest.MonkeyPatch, key: str, place: int
) -> None:
    assert not is_key(key)
    both = [KEYS[0]]
    both.insert(place, key)
    monkeypatch.setenv("USHER_API_KEYS", ",".join(both))
    with pytest.raises(SettingsRefused) as refusal:
        read_settings()
    message = str(refusal.value)
    assert message.startswith(
        f"USHER_API_KEYS cannot be used: key {place + 1} of 2 is not 16 to 128"
    )
    assert "A-Za-z0-9._~+/=-" in message
    assert key not in message
    assert KEYS[0] not in message
    assert "\n" not in message
    assert refusal.value.__suppress_context__


def test_an_empty_place_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_API_KEYS", f"{KEYS[0]},")
    with pytest.raises(SettingsRefused, match="key 2 of 2"):
        read_settings()


def test_keys_are_not_shown_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_API_KEYS", ",".join(KEYS))
    settings = read_settings()
    assert [key.get_secret_value() for key in settings.api_keys] == list(KEYS)
    assert not any(key in repr(settings) + str(settings) for key in KEYS)


def test_a_service_with_a_bad_key_does_not_start_and_does_not_tell_it(tmp_path: Path) -> None:
    process, _, log = start_service(tmp_path, USHER_API_KEYS="tell-nobody")
    assert process.wait(timeout=60) != 0
    said = log.read_text()
    assert "USHER_API_KEYS cannot be used" in said
    assert "tell-nobody" not in said
    assert "Traceback" not in said
