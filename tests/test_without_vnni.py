"""Selection on int8 where the processor cannot add two products of bytes at once.

The instruction (VNNI) cannot be switched off in onnxruntime, so the processor is emulated: one with
AVX2 and nothing later, whose products are added in 16 bits that could overflow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service_fixtures import ROOT
from tests.tiny import tiny_bundle
from training import export
from training.export import recommend_inputs
from training.onnx_files import run_graph

EMULATOR = shutil.which("qemu-x86_64")


@pytest.mark.skipif(EMULATOR is None, reason="it needs qemu-x86_64: apt-get install qemu-user")
def test_a_processor_without_it_selects_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TWO_STAGES_FROM", 4000)
    bundle = tiny_bundle(tmp_path / "large", users=80, items=4000)
    graph = bundle.recommend_int8_graph
    assert graph is not None
    feed: dict[str, Any] = recommend_inputs(bundle.users.histories, 4000, 100)
    np.savez(tmp_path / "feed.npz", **feed)
    packages = str(Path(np.__file__).parent.parent)
    subprocess.run(
        [
            str(EMULATOR), "-cpu", "Haswell", os.path.realpath(sys.executable),
            str(ROOT / "tests" / "without_vnni.py"), str(graph),
            str(tmp_path / "feed.npz"), str(tmp_path / "answer.npz"),
        ],
        env={"PYTHONPATH": packages, "ORT_DISABLE_TELEMETRY": "1", "PATH": os.environ["PATH"]},
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    emulated = np.load(tmp_path / "answer.npz")
    items, scores, *_ = run_graph(Path(graph), feed)
    np.testing.assert_array_equal(emulated["items"], items)
    np.testing.assert_allclose(emulated["scores"], scores, atol=1e-4)
