"""The benchmarks still run, and check what they measure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from models.bundle import Bundle

ROOT = Path(__file__).resolve().parent.parent


def test_serving_measures_hits_and_misses(bundle: Bundle) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.serving", "--seconds", "0.2"],
        cwd=ROOT,
        env=os.environ | {"USHER_MODEL": str(bundle.path)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    rows = re.findall(r"(hit|miss)\D+(1|16)\b", answer.stdout)
    assert rows == [("miss", "1"), ("miss", "16"), ("hit", "1"), ("hit", "16")]


def test_the_gateway_is_measured_plain_with_keys_and_logging() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gateway", "--requests", "50"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert len(re.findall(r"logged +\d+\.\d\d us$", answer.stdout, re.MULTILINE)) == 3
