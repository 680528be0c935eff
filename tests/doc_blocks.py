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
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
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
    r"(?:^<!-- (?:not run: (?P<why>.+?)|run with: (?P<needs>.+?)) -->\n)?"
    r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
DOCUMENTED = "127.0.0.1:3000"
SERVES = re.compile(r"^make (run|serve)\b", re.MULTILINE)
BLOCK_S = 600
IMAGE_S = 900  # a block that builds images
# A page's reader would see a refusal; here it must fail the block.
STRICT = 'curl() { command curl --fail-with-body "$@"; }\nset -euo pipefail\n'


@dataclass(frozen=True)
class Block:
    """One block: its language, its text, why it is not run, if it is not, and what it needs."""

    kind: str
    text: str
    why_not: str | None
    needs: str | None


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    found = FENCED.finditer((ROOT / page).read_text())
    return [Block(m["kind"], m["text"], m["why"], m["needs"]) for m in found]


@dataclass
class Checkout:
    """A copy of the tree in which one page's blocks run one after the other."""

    folder: Path
    data: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
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
        if DOCUMENTED in block.text and not self._serving and block.needs is None:
            self.serve("make run")
        if block.kind == "sh":
            return self.shell(text, BLOCK_S if block.needs is None else IMAGE_S)
        return self._run([sys.executable, "-c", text], BLOCK_S)

    def shell(self, text: str, timeout_s: float = IMAGE_S) -> str:
        """Run a script to its end; what it printed."""
        return self._run(["bash", "-c", STRICT + text], timeout_s)

    def _run(self, command: list[str], timeout_s: float) -> str:
        with subprocess.Popen(
            command, cwd=self.folder, env=self._environment(), start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as running:  # fmt: skip
            try:
                printed, _ = running.communicate(timeout=timeout_s)
            finally:  # nothing that it started may outlive it
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)
        assert running.returncode == 0, f"{command[-1]}\nprinted\n{printed}"
        return printed

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

        def going() -> None:
            assert server.poll() is None, f"{text}\nprinted\n{log.read_text()}"

        self.await_answer("/readyz", going)

    def await_answer(self, path: str, check: Callable[[], None] = lambda: None) -> None:
        """Wait until the checkout's port answers a path, which `check` may give up."""

        def answers() -> bool:
            check()
            try:
                return httpx.get(f"http://127.0.0.1:{self.port}{path}").is_success
            except httpx.TransportError:
                return False

        await_condition(answers, f"{path} answers", timeout_s=BLOCK_S)

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
        return (
            ours
            | {
                "USHER_DATA_DIR": str(self.data),
                "PORT": str(self.port),
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": "",
            }
            | self.environment
        )


def tiny_data(folder: Path) -> Path:
    """MovieLens latest-small and 1M as they come, but tiny: a folder for USHER_DATA_DIR."""
    ratings = load_ratings("synthetic:users=150,items=400,ratings=6000", SourceSettings())
    catalog = ratings.catalog
    rows = zip(ratings.users.tolist(), ratings.items.tolist(), ratings.values.tolist(), strict=True)
    times = np.random.default_rng(0).integers(900_000_000, 1_500_000_000, len(ratings.users))
    rated = [
        (user + 1, item + 1, value, time)
        for (user, item, value), time in zip(rows, times.tolist(), strict=True)
    ]
    movies = [
        (row + 1, title, "|".join(catalog.genres_of(row)) or "(no genres listed)")
        for row, title in enumerate(catalog.titles)
    ]
    small, large = folder / "ml-latest-small", folder / "ml-1m"
    _write(small / "ratings.csv", ["userId,movieId,rating,timestamp", *_lines(rated, ",")])
    quoted = [(movie, f'"{title}"', f'"{genres}"') for movie, title, genres in movies]
    _write(small / "movies.csv", ["movieId,title,genres", *_lines(quoted, ",")])
    whole = [(user, item, round(value + 0.25), time) for user, item, value, time in rated]
    _write(large / "ratings.dat", _lines(whole, "::"))
    _write(large / "movies.dat", _lines(movies, "::"))
    people = [(user + 1, "F", 25, 3, "48067") for user in range(150)]
    _write(large / "users.dat", _lines(people, "::"))
    return folder


def files_of_ones_own(folder: Path) -> None:
    """The files that the README's example names: stars, times and titles in columns so called."""
    draw = np.random.default_rng(1)
    pairs = sorted({(draw.integers(60), draw.integers(90)) for _ in range(2500)})
    rows = [
        (f"u{u}", f"i{i}", draw.integers(1, 11) / 2, 10**9 + n) for n, (u, i) in enumerate(pairs)
    ]
    _write(folder / "mine.csv", ["user,item,stars,when", *_lines(rows, ",")])
    titles = [(f"i{item}", f"Film {item} of ours") for item in range(90)]
    _write(folder / "titles.csv", ["item,title", *_lines(titles, ",")])


def _lines(rows: Iterable[tuple[object, ...]], between: str) -> list[str]:
    return [between.join(map(str, row)) for row in rows]


def _write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
