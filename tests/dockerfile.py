"""What a Dockerfile says of the image's last stage: how its processes run."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Image:
    """The instructions of the last stage that decide how a container runs."""

    base: str
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    working_folder: str = "/"
    command: tuple[str, ...] = ()
    health_check: tuple[str, ...] = ()


def read_dockerfile(path: Path) -> Image:
    """The image a Dockerfile describes; commands have to be lists."""
    image = Image("")
    text = re.sub(r"\\\n\s*", "", path.read_text())
    for line in filter(str.strip, text.splitlines()):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            image = Image(rest.split()[0])
        elif word == "ENV":
            pairs = (pair.split("=", 1) for pair in shlex.split(rest))
            image.environment |= {name: value for name, value in pairs}
        elif word == "USER":
            image.user = rest
        elif word == "WORKDIR":
            image.working_folder = rest
        elif word == "CMD":
            image.command = tuple(json.loads(rest))
        elif word == "HEALTHCHECK":
            image.health_check = tuple(json.loads(rest[rest.index("CMD") + 3 :]))
    return image
