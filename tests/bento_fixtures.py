"""The Bento for tests: built from the tree as make does, installed where nothing of the tree is."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.bundle import Bundle
from training.publish import register

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Elsewhere:
    """A folder with an empty environment, a store of its own, and the Bento in both."""

    folder: Path
    python: Path

    @property
    def bento(self) -> Path:
        """The Bento's own folder, its model included: what an image is made from."""
        return self.folder / "bento"

    @property
    def sources(self) -> Path:
        return self.bento / "src"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return kept | {"BENTOML_HOME": str(self.folder / "store"), "OMP_NUM_THREADS": "1"}

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        return call(self.python, *arguments, cwd=cwd or self.folder, environment=self.environment)


def call(*command: str | Path, cwd: Path, environment: dict[str, str]) -> str:
    """What a command prints; it must succeed."""
    answer = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def built(folder: Path, name: str, bentofile: str) -> Path:
    """A Bento built from the tree and exported, with its model, to one file in `folder`."""
    file = folder / f"{name}.bento"
    for arguments in (f"build --bentofile {bentofile}", f"export {name}:latest {file}"):
        command = (sys.executable, "-m", "bentoml", *arguments.split())
        call(*command, cwd=ROOT, environment=dict(os.environ))
    return file


def unpacked(archive: Path, folder: Path) -> Path:
    """The folder with what was in an exported Bento."""
    folder.mkdir()
    call("tar", "-xf", archive, "-C", folder, cwd=folder, environment=dict(os.environ))
    return folder


@pytest.fixture(scope="session")
def registered(bundle: Bundle) -> Bundle:
    """The bundle, as the newest model in the tests' own store."""
    register(bundle)
    return bundle


@pytest.fixture(scope="session")
def elsewhere(registered: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """The Bento's own requirements in an empty environment, and the Bento in an empty store."""
    folder = tmp_path_factory.mktemp("elsewhere")
    archive = built(folder, "usher", "bentofile.yaml")
    there = Elsewhere(folder, folder / "venv" / "bin" / "python")
    unpacked(archive, there.bento)
    call(sys.executable, "-m", "venv", folder / "venv", cwd=folder, environment=dict(os.environ))
    requirements = there.bento / "env" / "python" / "requirements.txt"
    there.run("-m", "pip", "install", "--disable-pip-version-check", "-q", "-r", requirements)
    there.run("-m", "bentoml", "import", archive)
    return there
