"""Opens a page where somebody can see it, and never waits for whoever looks at it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PATIENCE_S = 10.0
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def has_display(environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether a browser would have somewhere to show a page; only there is one started."""
    if platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in environ
    return any(environ.get(name) for name in DISPLAYS)


def open_page(path: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Open a file in the browser, if there is a display; whether one was asked to.

    In a process of its own: a browser may write to the terminal, or be one that runs in it.
    """
    if not has_display(environ):
        return False
    command = [sys.executable, "-m", "webbrowser", path.resolve().as_uri()]
    nothing = subprocess.DEVNULL
    with suppress(subprocess.TimeoutExpired):  # the browser is itself the process asked
        subprocess.run(
            command, stdin=nothing, stdout=nothing, stderr=nothing, env=dict(environ),
            timeout=PATIENCE_S, start_new_session=True,
        )  # fmt: skip
    return True
