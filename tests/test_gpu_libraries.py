"""The GPU image's pins against what onnxruntime-gpu really asks for.

`make check-gpu-libraries` asks the real wheels, which are too large for every run of the tests, and
keeps what it found; here the pins are held against that.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.test_house import ROOT, pins

FOUND: dict[str, Any] = json.loads((ROOT / "results" / "gpu-libraries.json").read_text())
WHEELS = {
    "libcublas.so": "nvidia-cublas",
    "libcublasLt.so": "nvidia-cublas",
    "libcudart.so": "nvidia-cuda-runtime",
    "libcudnn.so": "nvidia-cudnn-cu13",
    "libcurand.so": "nvidia-curand",
    "libnvinfer.so": "tensorrt-cu13-libs",
    "libnvonnxparser.so": "tensorrt-cu13-libs",
}
"""The wheel a library is in; the name of the library ends with the wheel's major version."""


def gpu_pins() -> dict[str, str]:
    """Every pin of the GPU image."""
    text = (ROOT / "requirements" / "tensorrt.txt").read_text()
    by_hand = dict(line.split("==") for line in text.splitlines() if "==" in line)
    return pins("service-gpu.txt") | by_hand


def test_what_was_checked_is_what_is_pinned() -> None:
    pinned = gpu_pins()
    assert FOUND["packages"].items() <= pinned.items(), "run make check-gpu-libraries again"
    gpu_only = pinned.keys() - pins("service.txt").keys()
    seen = FOUND["packages"].keys() | {FOUND["not_seen"].partition("==")[0]}
    assert gpu_only == seen - {""}


def test_nothing_a_provider_asks_for_is_missing() -> None:
    for found in FOUND["providers"].values():
        assert found["missing"] == []
        assert found["finds"]
    assert FOUND["providers"]["cuda"]["from_the_driver"] == ["libcuda.so.1"]


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_the_pins_have_the_major_versions_that_are_asked_for(provider: str) -> None:
    found = FOUND["providers"][provider]
    for soname in [*found["finds"], *found["not_seen"]]:
        library, _, major = soname.rpartition(".")
        assert gpu_pins()[WHEELS[library]].split(".")[0] == major, soname


def test_the_service_loads_all_that_is_asked_for() -> None:
    for found in FOUND["providers"].values():
        assert set(found["finds"]) <= set(FOUND["loaded_by_the_service"])


def test_the_bentofile_states_the_versions_that_are_pinned() -> None:
    text = (ROOT / "bentofile.gpu.yaml").read_text()
    pinned = gpu_pins()
    for name, package in (
        ("onnxruntime-gpu", "onnxruntime-gpu"),
        ("CUDA", "nvidia-cuda-runtime"),
        ("cuDNN", "nvidia-cudnn-cu13"),
        ("TensorRT", "tensorrt-cu13-libs"),
    ):
        stated = re.search(rf"{name} ([0-9.]*[0-9])", text)
        assert stated
        assert f"{pinned[package]}.".startswith(f"{stated[1]}."), name


def test_both_images_run_the_same_but_for_onnxruntime() -> None:
    cpu, gpu = pins("service.txt"), pins("service-gpu.txt")
    assert cpu.keys() - gpu.keys() == {"onnxruntime"}
    assert {name: gpu[name] for name in cpu.keys() & gpu.keys()}.items() <= cpu.items()
