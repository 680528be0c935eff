"""Which code this is: the git revision it runs from."""

from __future__ import annotations

import subprocess
from pathlib import Path


def code_version() -> str:
    """The git revision this code runs from, with `+` if it was changed; "unknown" outside git."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
