"""Which revision a row was measured from: that of the code, whatever else has changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

CODE = ("training", "models", "requirements")


def revision(root: Path) -> str:
    """The git revision, with `+` if a tracked file of CODE was changed; "unknown" outside git.

    The record itself is under git and changes while rows are measured, so it does not count.
    """
    try:
        head = _git(root, "rev-parse", "--short", "HEAD").strip()
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *CODE)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+" if changed else head


def _git(root: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
