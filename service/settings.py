"""Every setting of the service, read from the environment once, here.

The names are `USHER_` and the field's name in capitals. What is wrong with a setting is told in
one sentence; a setting nobody reads does not exist.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.edge.keys import KEY_RULE, is_key
from service.errors import SettingsRefused

Provider = Literal["tensorrt", "cuda", "cpu"]
PositiveInt = Annotated[int, Field(gt=0)]
EXPORTER = "opentelemetry-exporter-otlp-proto-http"
SECRETIVE = ("_URL", "_KEYS", "_TRACES")
"""Ends of names whose values are never told: a URL may hold a password."""


class Settings(BaseSettings):
    """What an operator may choose. Defaults suit one worker per core."""

    model_config = SettingsConfigDict(
        env_prefix="USHER_", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    model: str | None = None
    """A tag in BentoML's model store (`usher:latest`) or a bundle's folder. Unset: the model that
    was packed into the Bento, else `usher:latest`."""

    model_pointer: Path | None = None
    """A file that names the model to serve, a tag or a folder, before `USHER_MODEL` does. It may
    be moved while the service runs: workers follow within seconds. Absent: as if unset."""

    cache_url: str | None = None
    """Redis that holds finished answers (`redis://`, `rediss://` or `unix://`). Unset: no cache."""

    ratings_url: str | None = None
    """Redis that keeps the ratings people give (`redis://`, `rediss://` or `unix://`). Unset: none
    can be given, and histories are those the model was trained with."""

    ratings_timeout_ms: PositiveInt = 1000
    """How long a command to it may take before the caller gets a 503."""

    ratings_connections: PositiveInt = 64
    """Connections one worker opens to it at most; callers beyond them wait their turn."""

    cache_ttl_s: PositiveInt = 3600
    """How long an answer is kept; each entry lives up to a tenth less, so they do not expire at
    once."""

    cache_timeout_ms: PositiveInt = 40
    """How long a cache command may take, connecting included, before it counts as a miss."""

    cache_connections: PositiveInt = 64
    """Connections one worker opens to the cache at most; a caller beyond them gets a miss."""

    cache_failures: PositiveInt = 5
    """Failures in a row after which the cache is left alone."""

    cache_rest_ms: PositiveInt = 1000
    """For how long it is left alone before one caller tries again."""

    workers: PositiveInt = 1
    """Processes that answer; each holds the model, in pages they share where that is possible."""

    providers: Annotated[tuple[Provider, ...], NoDecode] = ("cpu",)
    """Execution providers allowed, best first, separated by commas: `tensorrt,cuda,cpu`. A session
    that ends up on another one makes the worker not ready."""

    engine_cache: Path | None = None
    """Folder in which TensorRT keeps the engines it builds, which takes it minutes. Unset: every
    worker that starts builds them anew."""

    batch_histories: PositiveInt = 32
    """Histories in one run of a graph at most. Each weighs 4 bytes an item of the catalogue while
    it runs; 64 took 29 MB more at 87,585 items and served no more."""

    batch_ratings: PositiveInt = 32_768
    """Ratings in one run of a graph at most; a longer history runs alone."""

    queue_histories: PositiveInt = 1024
    """Histories that may wait for the engine; beyond that a caller gets a 503."""

    queue_ratings: PositiveInt = 1_000_000
    """Ratings that may wait for the engine; beyond that a caller gets a 503."""

    request_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """How long a request may take, reading its body included, before it is given up."""

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Keys that callers may send, separated by commas, each of 16 to 128 characters from
    `A-Za-z0-9._~+/=-`. Unset: nobody needs one, which is refused beyond this machine."""

    guarded_elsewhere: bool = False
    """The operator's word that something else keeps others away, so that the service may listen
    beyond this machine without keys."""

    access_log_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the successful requests that get a line in the access log; errors and slow requests
    always do."""

    access_log_slow_ms: PositiveInt = 500
    """From when on a request is slow."""

    access_log_lines: PositiveInt = 10_000
    """Lines that may wait to be written; those beyond are dropped and counted."""

    traces: str | None = None
    """Where spans are sent: the URL of a collector that takes OTLP over HTTP, with its path
    (`http://collector:4318/v1/traces`). Unset: there are no traces."""

    traces_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the requests that are traced, of those whose caller does not say."""

    @field_validator("providers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        keys = [key.strip() for key in value.split(",")] if value.strip() else []
        for place, key in enumerate(keys, start=1):
            if not is_key(key):
                raise ValueError(f"key {place} of {len(keys)} is not {KEY_RULE}")
        return tuple(keys)

    @field_validator("model", "model_pointer", "cache_url", "ratings_url", "traces", mode="before")
    @classmethod
    def _unset_if_blank(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("cache_url", "ratings_url")
    @classmethod
    def _is_redis(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("a Redis URL begins with redis://, rediss:// or unix://")
        return value

    @field_validator("traces")
    @classmethod
    def _can_be_sent_to(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("a collector's URL begins with http:// or https://")
        if value is not None and not _installed(EXPORTER):
            raise ValueError(f"the package {EXPORTER} is not installed")
        return value


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def read_settings() -> Settings:
    """Read the environment. Raises SettingsRefused with one sentence naming the variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "USHER_" + str(first["loc"][0]).upper()
        value = "" if name.endswith(SECRETIVE) else f"={first['input']}"
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsRefused(f"{name}{value} cannot be used: {reason}.") from None
