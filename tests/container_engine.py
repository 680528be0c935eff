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
from shlex import quote

import pytest

from tests.service_fixtures import ROOT

ENGINE = "a container engine"
"""What blocks of the pages call it that are run with one."""
GIGABYTES = "a container engine and gigabytes of CUDA"
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
        asked = (["image", "inspect", image], ["pull", "-q", image])
        return any(_answers(shutil.which("docker") or "docker", *words) for words in asked)

    def provide_images(self, folder: Path) -> list[str]:
        """Have the images that ours are made from; the names of those that were made here."""
        lacking = [image for image in (PYTHON, REDIS) if not self.has(image)]
        if lacking:
            root = folder / "debian"
            subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
            shutil.copy(CERTIFICATES, root / str(CERTIFICATES).lstrip("/"))  # this machine's
            subprocess.run(["tar", "-C", root, "-cf", folder / "debian.tar", "."], check=True)
            shutil.rmtree(root)
        for image in lacking:
            self.docker("import", folder / "debian.tar", image)
            if image == REDIS:
                self.docker("build", "-q", "-t", REDIS, "-", stdin=f"FROM {REDIS}\n{DATA}")
        return lacking


@pytest.fixture(scope="session")
def container_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerEngine]:
    """Docker and Compose, if they are asked for; images take minutes to build."""
    if not os.environ.get(ASKED):
        # Not unasked: it takes minutes, a daemon, and images of other projects' names for a while.
        pytest.skip(f"builds images with Docker for minutes; {ASKED}=1 asks for it, as CI does")
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
            f'#!/bin/sh\nif [ "$1" = compose ]; then shift; PYTHONPATH={quote(str(ROOT))} '
            f'exec {quote(sys.executable)} -m tests.compose_v1 "$@"; fi\n'
            f'exec {quote(docker)} "$@"\n'
        )
        stand_in.chmod(0o755)
        environment["PATH"] = f"{stand_in.parent}:{os.environ['PATH']}"
    engine = ContainerEngine(environment, environment["COMPOSE_PROJECT_NAME"])
    made = engine.provide_images(folder)
    yield engine
    if made:  # they have the names of others, who are not to meet them
        engine.docker("image", "rm", "--force", *made)


def _answers(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0
