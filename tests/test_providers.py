"""What onnxruntime is told before it is loaded, and what is loaded before it asks."""

from __future__ import annotations

import _ctypes
import _struct
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from models.bundle import Bundle
from service.providers import ONNX_NAMES, open_session, preload_libraries

ROOT = Path(__file__).resolve().parent.parent
MAPS = Path("/proc/self/maps")
TENSORRT, CUDA, CPU = (ONNX_NAMES[name] for name in ("tensorrt", "cuda", "cpu"))


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


def test_what_does_not_load_gives_way_to_the_next_that_is_allowed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[list[str]] = []
    session = ort.InferenceSession

    def without_tensorrt(path: str, options: Any, providers: Any, **more: Any) -> Any:
        names = [name for name, _ in providers]
        asked.append(names)
        if names[0] == TENSORRT:
            raise RuntimeError("TensorRT is not here.\nIt is elsewhere.")
        return session(path, options, providers=[CPU], **more)

    monkeypatch.setattr(ort, "InferenceSession", without_tensorrt)
    graph, options = str(bundle.rate_graph), ort.SessionOptions()
    opened = open_session(graph, options, [TENSORRT, CUDA], None)
    assert asked == [[TENSORRT, CUDA], [CUDA]]
    assert opened._enable_fallback is False  # onnxruntime's would be the CPU, which is not allowed
    assert open_session(graph, options, [CPU], None)._enable_fallback is True
    assert f"{TENSORRT} cannot be used, the next is tried: TensorRT is not here." in caplog.text
    assert "elsewhere" not in caplog.text
    with pytest.raises(RuntimeError, match="not here"):
        open_session(graph, options, [TENSORRT], None)
