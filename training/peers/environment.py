"""Where a peer runs: a virtual environment of its own, made from exact pins when first needed.

Its libraries want other versions than ours, and nobody who only trains and serves needs them. The
pins are requirements/peers/<name>.txt; a stamp with their digest says the environment is whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from training.errors import TrainingError

ROOT = Path(__file__).resolve().parent.parent.parent
PINS = ROOT / "requirements" / "peers"
STAMP = "installed"


class PeerUnavailable(TrainingError):
    """A peer cannot be installed or did not answer; the rest goes on without it."""


def peer_python(name: str, environments: Path) -> Path:
    """The interpreter of the peer's environment, made now if it is not there.

    Raises PeerUnavailable, with pip's last words, if it cannot be made.
    """
    folder = environments / name
    if not is_installed(name, environments):
        shutil.rmtree(folder, ignore_errors=True)
        _create(name, folder)
        (folder / STAMP).write_text(_digest(name))
    return folder / "bin" / "python"


def is_installed(name: str, environments: Path) -> bool:
    """Whether the peer's environment holds exactly what is pinned now."""
    stamp = environments / name / STAMP
    return stamp.is_file() and stamp.read_text() == _digest(name)


def _digest(name: str) -> str:
    return hashlib.sha256((PINS / f"{name}.txt").read_bytes()).hexdigest()


def _create(name: str, folder: Path) -> None:
    pins = str(PINS / f"{name}.txt")
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", pins]
    for command in ([sys.executable, "-m", "venv", str(folder)], install):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise PeerUnavailable(
                f"The peer {name} cannot be installed from {pins}: {last_line(done.stderr)}"
            )


def run_peer(
    name: str, exchange: Path, environments: Path, *, environment: str | None = None
) -> None:
    """Run the peer's script on the task in the folder `exchange`.

    environment: the one it runs in, if not one of its own name. Raises PeerUnavailable if it
    cannot be installed or fails.
    """
    # Not resolved: the interpreter is a link into the base installation.
    python = peer_python(environment or name, environments).absolute()
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, "-m", f"training.peers.{name}", exchange.absolute()],
        cwd=ROOT, env=one_thread | dict(os.environ), capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise PeerUnavailable(f"The peer {name} failed: {last_line(done.stderr)}")


def last_line(text: str) -> str:
    """The last line that says something; what ended a process says why there."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
