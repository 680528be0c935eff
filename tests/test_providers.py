"""What onnxruntime is told before it is loaded, and what is loaded before it asks."""

from __future__ import annotations

import _ctypes
import _struct
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.providers import preload_libraries

ROOT = Path(__file__).resolve().parent.parent
MAPS = Path("/proc/self/maps")


@pytest.mark.parametrize("package", ["service", "training"])
def test_onnxruntime_reports_nothing_to_its_makers(package: str, tmp_path: Path) -> None:
    """It makes up an id for the machine, and keeps it under HOME, before it reports anything."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    environment |= {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("XDG_CACHE_HOME", None)
    command = [sys.executable, "-c", f"import {package}, onnxruntime"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tensorrt_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package laid out as NVIDIA's, with libraries that are others' but really load."""
    package = tmp_path / "tensorrt_libs"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, module in (("libnvinfer.so.10", _ctypes), ("libnvonnxparser.so.10", _struct)):
        shutil.copy(str(module.__file__), package / name)
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


@pytest.mark.skipif(not MAPS.exists(), reason="what a process has loaded is told by Linux alone")
def test_tensorrt_s_libraries_are_loaded_from_their_wheel(tensorrt_wheel: Path) -> None:
    preload_libraries(["CPUExecutionProvider"])
    assert str(tensorrt_wheel) not in MAPS.read_text()
    preload_libraries(["TensorrtExecutionProvider", "CPUExecutionProvider"])
    for name in ("libnvinfer.so.10", "libnvonnxparser.so.10"):
        assert str(tensorrt_wheel / name) in MAPS.read_text()


def test_a_library_that_cannot_be_loaded_is_told_and_passed_over(
    tensorrt_wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tensorrt_wheel / "libnvinfer.so.10").write_bytes(b"no library")
    preload_libraries(["TensorrtExecutionProvider"])
    assert "libnvinfer.so.10" in caplog.text
