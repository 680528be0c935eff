"""Code blocks of the pages, and a checkout of the project in which they are run as they stand.

The checkout is the present tree with a state of its own. Its data sets are tiny and have the names
and files of the real ones, so that what a page trains takes seconds. What is changed in a block is
the port, 3000, which may be somebody's.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from tests.service_fixtures import ROOT, await_condition, free_port
from training.sources import SourceSettings, load_ratings

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
)
FENCED = re.compile(
    r"(?:^<!-- not run: (?P<why>.+?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
DOCUMENTED = "127.0.0.1:3000"
SERVES = re.compile(r"^make (run|serve)\b", re.MULTILINE)
BLOCK_S = 240
# A page's reader would see a refusal; here it must fail the block.
STRICT = 'curl() { command curl --fail-with-body "$@"; }\nset -euo pipefail\n'


@dataclass(frozen=True)
class Block:
    """One block: its language, its text, and why it is not run, if it is not."""

    kind: str
    text: str
    why_not: str | None


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    found = FENCED.finditer((ROOT / page).read_text())
    return [Block(match["kind"], match["text"], match["why"]) for match in found]


@dataclass
class Checkout:
    """A copy of the tree in which one page's blocks run one after the other."""

    folder: Path
    data: Path
    port: int = field(default_factory=free_port)
    _serving: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path, data: Path) -> Checkout:
        """Copy what git would keep; the environment is that of this process."""
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT, capture_output=True, check=True, text=True,
        )  # fmt: skip
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        (folder / ".venv").symlink_to(Path(sys.prefix))
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        return cls(folder, data)

    def run(self, block: Block) -> str:
        """Run a block to its end, or start what it serves; what it printed."""
        text = block.text.replace(DOCUMENTED, f"127.0.0.1:{self.port}")
        if SERVES.search(text):
            self.serve(text)
            return ""
        if DOCUMENTED in block.text and not self._serving:
            self.serve("make run")
        command = (
            ["bash", "-c", STRICT + text] if block.kind == "sh" else [sys.executable, "-c", text]
        )
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), timeout=BLOCK_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\nprinted\n{done.stdout}"
        return done.stdout

    def serve(self, text: str) -> None:
        """Start a block that serves, and wait until it does; what served before ends."""
        self.end()
        log = self.folder / ".usher" / "documentation.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("wb") as output:
            server = subprocess.Popen(
                ["bash", "-c", STRICT + text], cwd=self.folder, env=self._environment(),
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._serving.append(server)

        def ready() -> bool:
            assert server.poll() is None, f"{text}\nprinted\n{log.read_text()}"
            try:
                return httpx.get(f"http://127.0.0.1:{self.port}/readyz").is_success
            except httpx.TransportError:
                return False

        await_condition(ready, "the block serves", timeout_s=BLOCK_S)

    def end(self) -> None:
        """End what serves, as Ctrl-C would."""
        while self._serving:
            server = self._serving.pop()
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGINT)
                server.wait(timeout=60)

    def _environment(self) -> dict[str, str]:
        ours = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("USHER_", "BENTOML_", "MLFLOW_", "MAKE", "PYTEST_"))
        }  # fmt: skip
        return ours | {
            "USHER_DATA_DIR": str(self.data),
            "PORT": str(self.port),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": "",
        }


def tiny_data(folder: Path) -> Path:
    """MovieLens latest-small as it comes, but tiny: a folder for USHER_DATA_DIR."""
    ratings = load_ratings("synthetic:users=150,items=400,ratings=6000", SourceSettings())
    catalog = ratings.catalog
    home = folder / "ml-latest-small"
    home.mkdir(parents=True)
    rows = zip(ratings.users.tolist(), ratings.items.tolist(), ratings.values.tolist(), strict=True)
    times = np.random.default_rng(0).integers(900_000_000, 1_500_000_000, len(ratings.users))
    lines = [
        f"{user + 1},{item + 1},{value},{time}"
        for (user, item, value), time in zip(rows, times.tolist(), strict=True)
    ]
    (home / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(lines) + "\n")
    movies = [
        f'{row + 1},"{title}","{"|".join(catalog.genres_of(row)) or "(no genres listed)"}"'
        for row, title in enumerate(catalog.titles)
    ]
    (home / "movies.csv").write_text("movieId,title,genres\n" + "\n".join(movies) + "\n")
    return folder
