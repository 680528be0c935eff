"""The runbook's names are the service's: no metric untold, none made up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = ("_total", "_bucket", "_count", "_sum")


def families(names: set[str]) -> set[str]:
    """Names of metrics without what a series adds to them."""
    return {re.sub(rf"({'|'.join(SUFFIXES)})$", "", name) for name in names}


def test_every_metric_is_told_and_no_other() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    real = {metric.name for metric in registry.collect()}
    text = (ROOT / "docs" / "operations.md").read_text()
    told = re.findall(r"^\| `(usher_\w+)` \|", text, flags=re.MULTILINE)
    assert families(set(told)) == real
    assert families(set(re.findall(r"usher_\w+", text))) == real


@pytest.mark.parametrize("page", ["operations.md", "security.md"])
def test_files_that_are_named_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    for name in re.findall(r"(?:deploy|results|requirements)/[\w/.-]*\w", text):
        assert (ROOT / name).exists() or name == "deploy/.env", name
