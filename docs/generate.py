"""Writes what the pages of this folder say of the code: `make docs`. A test compares them.

A page is written by hand; between `<!-- generated: NAME -->` and `<!-- end -->` stands what a
function here makes. Nothing else in a page is touched.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from docs.api_tables import examples, openapi_document, routes
from docs.settings_tables import configuration_keys, environment

FOLDER = Path(__file__).parent
OPENAPI = "openapi.json"
MARKED = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

PARTS: dict[str, Callable[[], str]] = {
    "environment": environment,
    "configuration-keys": configuration_keys,
    "routes": routes,
    "examples": examples,
}


def generated(page: str) -> str:
    """A page with its marked parts made anew. Raises KeyError for a part nobody makes."""
    return MARKED.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", page)


def files() -> dict[Path, str]:
    """What every generated file should hold."""
    pages = {path: generated(path.read_text()) for path in sorted(FOLDER.glob("*.md"))}
    document = json.dumps(openapi_document(), indent=1, ensure_ascii=False) + "\n"
    return pages | {FOLDER / OPENAPI: document}


def main() -> int:
    """Write them."""
    for path, content in files().items():
        if not path.exists() or path.read_text() != content:
            path.write_text(content)
            print(f"Wrote {path.name}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
