"""A real container engine for tests: Docker, Compose, and the images that ours are made from.

Where no registry can be reached, the two images are made from Debian's archive: the same
distribution, an interpreter and a Redis of its own versions, so what is tested then is everything
but those. Nothing is touched that the tests did not make: the project's name is its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.service_fixtures import ROOT

ENGINE = "a container engine"
"""What blocks of the pages call it that are run with one."""
ASKED = "TEST_CONTAINER_ENGINE"
PYTHON = "python:3.11.14-slim-bookworm"
REDIS = "redis:8.2.2-bookworm"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates,redis-server"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# What the official image has of its own: the volume's owner.
DATA = "RUN install --directory --owner=999 --group=999 /data\nVOLUME /data\nWORKDIR /data\n"


@dataclass(frozen=True)
class ContainerEngine:
    """environment: what makes `docker` and `docker compose` work, in a project of the tests'."""

    environment: dict[str, str]
    project: str

    def docker(self, *words: str | Path, stdin: str | None = None) -> str:
        """What a command prints; it must succeed."""
        done = subprocess.run(
            ["docker", *words], env=os.environ | self.environment, input=stdin,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def has(self, image: str) -> bool:
        """Whether an image is there, or comes from a registry."""
        asked = (["docker", "image", "inspect", image], ["docker", "pull", "-q", image])
        return any(subprocess.run(words, capture_output=True).returncode == 0 for words in asked)

    def provide_images(self, folder: Path) -> None:
        """Have the images that ours are made from."""
        if self.has(PYTHON) and self.has(REDIS):
            return
        root = folder / "debian"
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        shutil.copy(CERTIFICATES, root / str(CERTIFICATES).lstrip("/"))  # this machine's
        subprocess.run(["tar", "-C", root, "-cf", folder / "debian.tar", "."], check=True)
        self.docker("import", folder / "debian.tar", PYTHON)
        self.docker("build", "-q", "-t", REDIS, "-", stdin=f"FROM {PYTHON}\n{DATA}")
        shutil.rmtree(root)


@pytest.fixture(scope="session")
def container_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerEngine]:
    """Docker and Compose, if they are asked for; images take minutes to build."""
    if not os.environ.get(ASKED):
        pytest.skip(f"builds images for minutes: {ASKED}=1 asks for it")
    docker = shutil.which("docker")
    assert docker is not None, f"{ASKED} is set, and there is no docker"
    folder = tmp_path_factory.mktemp("engine")
    environment = {"COMPOSE_PROJECT_NAME": f"usher-test-{os.getpid()}"}
    if not _answers(docker, "buildx", "version"):
        environment["DOCKER_BUILDKIT"] = "0"
    if not _answers(docker, "compose", "version"):
        stand_in = folder / "bin" / "docker"
        stand_in.parent.mkdir()
        stand_in.write_text(
            f'#!/bin/sh\nif [ "$1" = compose ]; then shift; PYTHONPATH={ROOT} '
            f'exec {sys.executable} -m tests.compose_v1 "$@"; fi\nexec {docker} "$@"\n'
        )
        stand_in.chmod(0o755)
        environment["PATH"] = f"{stand_in.parent}:{os.environ['PATH']}"
    engine = ContainerEngine(environment, environment["COMPOSE_PROJECT_NAME"])
    engine.provide_images(folder)
    yield engine


def _answers(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0
