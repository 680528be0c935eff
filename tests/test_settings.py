"""Settings come from the environment, and a bad one is told in one sentence."""

from __future__ import annotations

import inspect

import pytest

from service.errors import SettingsRefused
from service.settings import Settings, read_settings


def test_the_defaults_need_no_environment() -> None:
    settings = read_settings()
    assert (settings.model, settings.cache_url, settings.providers) == (None, None, ("cpu",))
    assert 20 <= settings.cache_timeout_ms <= 50


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_MODEL", "usher:7")
    monkeypatch.setenv("USHER_PROVIDERS", "tensorrt, cuda,cpu")
    monkeypatch.setenv("USHER_CACHE_URL", "unix:///run/cache.sock")
    monkeypatch.setenv("USHER_RATINGS_URL", " ")
    settings = read_settings()
    assert settings.model == "usher:7"
    assert settings.providers == ("tensorrt", "cuda", "cpu")
    assert settings.cache_url == "unix:///run/cache.sock"
    assert settings.ratings_url is None


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("USHER_CACHE_TTL_S", "soon", "USHER_CACHE_TTL_S=soon"),
        ("USHER_BATCH_HISTORIES", "0", "greater than 0"),
        ("USHER_PROVIDERS", "cuda,quantum", "'tensorrt', 'cuda' or 'cpu'"),
        ("USHER_CACHE_URL", "localhost:6379", "begins with redis://"),
    ],
)
def test_a_bad_setting_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsRefused) as refusal:
        read_settings()
    message = str(refusal.value)
    assert name in message
    assert told in message
    assert "\n" not in message


def test_the_password_in_a_url_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_CACHE_URL", "http://:secret@cache")
    with pytest.raises(SettingsRefused) as refusal:
        read_settings()
    assert "secret" not in str(refusal.value)


def test_every_setting_says_what_it_is_for() -> None:
    source = inspect.getsource(Settings)
    for name in Settings.model_fields:
        after = source.split(f"\n    {name}: ", 1)[1].split("\n    ", 1)[1]
        assert after.lstrip(" )\n").startswith('"""'), f"{name} has no docstring"
