"""A service that others can reach has keys, or somebody's word that it is guarded elsewhere."""

from __future__ import annotations

import socket
from pathlib import Path

import click
import pytest

from models.bundle import Bundle
from service.edge.listening import check_guarded, is_loopback, listening_host
from service.errors import SettingsRefused
from service.settings import read_settings
from tests.service_fixtures import start_service

KEY = "a-key-0123456789"


def command(**options: object) -> click.Context:
    """What click holds while a command with these options runs."""
    context = click.Context(click.Command("serve"))
    context.params = dict(options)
    return context


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
        ("::ffff:10.0.0.7", False),
        ("", False),
        ("somewhere", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_command_is_taken_by_its_word_and_no_word_means_everywhere() -> None:
    assert listening_host() is None
    with command(host="10.0.0.7").scope():
        assert listening_host() == "10.0.0.7"
    with command(host=None).scope():
        assert listening_host() == "0.0.0.0"
    with command(other=1).scope():
        assert listening_host() is None


@pytest.mark.parametrize(
    ("family", "host"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")],
)
def test_a_worker_asks_its_socket_and_leaves_it_open(
    family: socket.AddressFamily, host: str
) -> None:
    with socket.socket(family) as bound:
        bound.bind((host, 0))
        for _ in range(2):
            with command(fd=bound.fileno(), host="1.2.3.4").scope():
                assert listening_host() == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", None])
def test_keys_or_a_word_are_needed_beyond_loopback(
    monkeypatch: pytest.MonkeyPatch, host: str | None
) -> None:
    with command(host=host).scope():
        with pytest.raises(SettingsRefused) as refusal:
            check_guarded(read_settings())
        assert "USHER_API_KEYS" in str(refusal.value)
        assert "USHER_GUARDED_ELSEWHERE=1" in str(refusal.value)
        monkeypatch.setenv("USHER_GUARDED_ELSEWHERE", "1")
        check_guarded(read_settings())
        monkeypatch.setenv("USHER_GUARDED_ELSEWHERE", "0")
        with pytest.raises(SettingsRefused):
            check_guarded(read_settings())
        monkeypatch.setenv("USHER_API_KEYS", KEY)
        check_guarded(read_settings())


@pytest.mark.parametrize(
    ("listen", "environment"),
    [
        (("--host", "0.0.0.0"), {}),
        ((), {"BENTOML_HOST": "::"}),
        ((), {}),
        ((), {"USHER_API_KEYS": " "}),
    ],
    ids=["option", "environment", "nothing said", "blank keys"],
)
def test_an_open_service_does_not_start(
    bundle: Bundle, tmp_path: Path, listen: tuple[str, ...], environment: dict[str, str]
) -> None:
    """It is refused before it listens."""
    process, _, log = start_service(tmp_path, listen, USHER_MODEL=str(bundle.path), **environment)
    assert process.wait(timeout=60) != 0
    said = log.read_text()
    assert said.count("Usher does not start. Nothing guards it on ") == 1
    assert "Traceback" not in said
