"""The pages: current where they are generated, and every block of code in them runs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.generate import files
from service.settings import Settings
from tests.container_engine import ENGINE, GIGABYTES
from tests.doc_blocks import PAGES, Block, Checkout, blocks_of, files_of_ones_own, tiny_data
from tests.kubernetes_cluster import CLUSTER
from tests.service_fixtures import ROOT, free_port

READ: dict[str, Callable[[str], Any]] = {
    "json": json.loads, "yaml": yaml.safe_load, "text": str
}  # fmt: skip
RUN = ("sh", "python")
REHEARSED = {
    ENGINE: "test_rehearsal", GIGABYTES: "test_gpu_rehearsal", CLUSTER: "test_kubernetes_rehearsal"
}  # fmt: skip


def test_what_is_generated_is_current() -> None:
    stale = [path.name for path, content in files().items() if path.read_text() != content]
    assert stale == [], "make docs writes them"


def test_every_variable_and_key_is_told() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for name in Settings.model_fields:
        assert f"| `USHER_{name.upper()}` | " in page
    sources = [*ROOT.glob("service/**/*.py"), *ROOT.glob("training/**/*.py"), ROOT / "Makefile"]
    named = set(re.findall(r"\bUSHER_[A-Z_]+[A-Z]\b", "\n".join(p.read_text() for p in sources)))
    assert {name for name in named if f"`{name}`" not in page} == set()
    assert "|  |" not in page, "a field without a docstring"


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_of_a_kind_that_is_checked(page: str) -> None:
    for block in blocks_of(page):
        assert block.kind in {*READ, *RUN}, block.text
        if block.kind in READ:
            READ[block.kind](block.text)
    unfenced = re.sub(
        r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE
    )
    assert not re.search(r"\n\n    \S", unfenced), "code is fenced, so that it is found and run"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def checkout(tmp_path: Path, data: Path) -> Iterator[Checkout]:
    made = Checkout.make(tmp_path, data)
    yield made
    made.end()


def runnable(page: str) -> list[Block]:
    return [
        block for block in blocks_of(page)
        if block.kind in RUN and block.why_not is None and block.needs not in REHEARSED
    ]  # fmt: skip


def with_files(checkout: Checkout, text: str) -> str:
    files_of_ones_own(checkout.folder)
    return text


def with_a_version(checkout: Checkout, text: str) -> str:
    """The example names a version of the page's author."""
    newest = checkout.folder / ".usher" / "bentoml" / "models" / "usher" / "latest"
    changed = re.sub(r"usher:\d{8}-\d{6}-small", f"usher:{newest.read_text()}", text)
    assert changed != text
    return changed


def with_another_machine(checkout: Checkout, text: str) -> str:
    """The other machine's command runs beside it, on this one."""
    text = text.replace("10.0.0.1:29500", f"127.0.0.1:{free_port()}")
    other = text.replace("--machine-rank 0", "--machine-rank 1")
    assert other != text
    return f"{{ {other}}} &\n{text}wait $!\n"


SUPPLIES = {
    "files of yours": with_files,
    "a version that you have": with_a_version,
    "a second machine": with_another_machine,
}


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)])
def test_every_block_runs_as_it_stands(page: str, checkout: Checkout) -> None:
    for block in runnable(page):
        if block.needs is not None:
            block = replace(block, text=SUPPLIES[block.needs](checkout, block.text))
        checkout.run(block)


@pytest.mark.parametrize("page", PAGES)
def test_what_cannot_run_here_is_a_script_and_says_why(page: str) -> None:
    for block in blocks_of(page):
        if block.why_not is not None or block.needs is not None:
            checked = subprocess.run(
                ["bash", "-n"], input=block.text, text=True, capture_output=True
            )
            assert checked.returncode == 0, checked.stderr
            assert len(block.why_not or block.needs or "") > 8


@pytest.mark.parametrize("needs", REHEARSED)
def test_what_is_rehearsed_is_where_its_test_looks(needs: str) -> None:
    pages = [page for page in PAGES if any(block.needs == needs for block in blocks_of(page))]
    assert pages == ["docs/operations.md"], f"tests/{REHEARSED[needs]}.py reads no other"


COMMAND = re.compile(r"(?<=`)make [^`]+(?=`)")


@pytest.mark.parametrize("page", PAGES)
def test_commands_within_the_text_are_ones_that_make_knows(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    variables = set(re.findall(r"\$\(([A-Z_]+)\)", makefile))
    text = " ".join((ROOT / page).read_text().split())
    for command in COMMAND.findall(text):
        for word in shlex.split(command.replace("<", "").replace(">", ""))[1:]:
            name, given, _ = word.partition("=")
            known = name in variables or name.startswith("USHER_") if given else name in targets
            assert known, f"{command}: {word}"


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        if not target.startswith(("http://", "https://")):
            path, _, anchor = target.partition("#")
            linked = (ROOT / page).parent / path if path else ROOT / page
            assert linked.exists(), target
            if anchor:
                titles = re.findall(r"^#+ (.+)$", linked.read_text(), flags=re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
                assert anchor in slugs, target
