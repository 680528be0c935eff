"""`docker compose` by way of Compose 1, which is all that Debian 12 has.

It does what version 2 does and version 1 does not: the file may say the project's name, `.env` is
read beside the file, and `up --wait` waits until what has a health check is healthy.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE_S = 120


def main(words: list[str]) -> int:
    """Run one command, as `docker compose` gets it."""
    assert words[0] == "-f", "the pages name the file first"
    file, rest = Path(words[1]).resolve(), words[2:]
    waits = "--wait" in rest
    text = file.read_text()
    named = re.search(r"^name: (\S+)\n", text, flags=re.MULTILINE)
    assert named is not None
    project = os.environ.get("COMPOSE_PROJECT_NAME", named[1])
    with tempfile.TemporaryDirectory() as scratch:
        older = Path(scratch) / "compose.yaml"
        older.write_text(text.replace(named[0], ""))
        compose = [
            "docker-compose", "-p", project, "-f", str(older),
            "--project-directory", str(file.parent), "--env-file", str(file.parent / ".env"),
        ]  # fmt: skip
        rest = [word for word in rest if word != "--wait"]
        code = subprocess.run([*compose, *rest], check=False).returncode
        if waits and code == 0:
            listed = subprocess.run([*compose, "ps", "-q"], check=True, capture_output=True)
            return wait(listed.stdout.decode().split())
        return code


def wait(containers: list[str]) -> int:
    """0 once all are healthy, 1 if one ends or they are not in time."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        told = subprocess.run(["docker", "inspect", *containers], check=True, capture_output=True)
        states = [container["State"] for container in json.loads(told.stdout)]
        if all(
            state.get("Health", {"Status": "healthy"})["Status"] == "healthy" for state in states
        ):
            return 0
        if any(state["Status"] in ("exited", "dead") for state in states):
            break
        time.sleep(0.5)
    print("not all are healthy", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
