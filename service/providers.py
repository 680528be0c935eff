"""Execution providers: what the operator allows, what onnxruntime really uses.

onnxruntime lists providers it cannot start and falls back to the CPU in silence; only a session
can tell. A provider in use that was not allowed is a mismatch, and the worker is not ready.

TensorRT builds an engine for each graph, which takes minutes and fits one GPU, one version of the
libraries and one graph alone; it is kept in a folder whose name says all three.

NVIDIA's libraries come as wheels, in folders where the system's loader does not look. They are
loaded before onnxruntime asks for them by name.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import onnxruntime as ort

from service.settings import Provider

ONNX_NAMES: dict[Provider, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
TENSORRT_LIBRARIES = ("libnvinfer.so.*", "libnvonnxparser.so.*")
"""In this order: the second needs the first."""

log = logging.getLogger("usher")


def requested(allowed: Sequence[Provider]) -> list[str]:
    """The names to ask a session for: those allowed that this build of onnxruntime knows."""
    known = set(ort.get_available_providers())
    return [ONNX_NAMES[name] for name in allowed if ONNX_NAMES[name] in known]


def preload_libraries(names: Sequence[str]) -> None:
    """Load what the requested providers need from NVIDIA's wheels; nothing for a CPU.

    What is not there may still be where the system's loader looks: a session tells in the end.
    """
    if {ONNX_NAMES["cuda"], ONNX_NAMES["tensorrt"]} & set(names):
        with redirect_stdout(sys.stderr):  # it prints; the standard output is the access log's
            ort.preload_dlls(directory="")
    if ONNX_NAMES["tensorrt"] in names:  # onnxruntime leaves these to us
        for library in _tensorrt_libraries():
            try:
                ctypes.CDLL(str(library))
            except OSError as error:
                log.warning("A library of TensorRT's cannot be loaded: %s", error)


def _tensorrt_libraries() -> Iterator[Path]:
    package = importlib.util.find_spec("tensorrt_libs")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for pattern in TENSORRT_LIBRARIES:
            yield from sorted(Path(folder).glob(pattern))


def options_of(name: str, engines: Path | None) -> dict[str, str]:
    """Options of one requested provider; `engines`: the folder that TensorRT keeps its work in."""
    if name != ONNX_NAMES["tensorrt"] or engines is None:
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(engines),
    }


def engine_folder(root: Path, bundle_digest: str, gpu: str | None) -> Path:
    """Where engines for one bundle on this machine are kept: by GPU, versions and bundle."""
    kind = re.sub(r"[^a-z0-9.]+", "-", (gpu or "unknown-gpu").lower()).strip("-")
    return root / f"{kind}-onnxruntime-{ort.__version__}-{bundle_digest[:16]}"


def gpu_kind() -> str | None:
    """Name, compute capability and driver of the first GPU; None without one, or a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # there is no driver
        return None
    try:
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(device)
        driver = pynvml.nvmlSystemGetDriverVersion()
        return f"{pynvml.nvmlDeviceGetName(device)} sm{major}{minor} driver {driver}"
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def open_session(
    path: str, options: ort.SessionOptions, names: Sequence[str], engines: Path | None
) -> ort.InferenceSession:
    """A session that prefers the first of the requested providers that loads, then those after it.

    onnxruntime's own way around one that does not is CUDA and the CPU, whatever was allowed. Raises
    what the last of them raised, whose class is onnxruntime's to choose.
    """
    for place, name in enumerate(names):
        chosen = [(other, options_of(other, engines)) for other in names[place:]]
        try:
            with redirect_stdout(sys.stderr):  # it prints; the standard output is the access log's
                session = ort.InferenceSession(path, options, providers=chosen, enable_fallback=0)
        except Exception as error:  # onnxruntime's errors share no base class
            if place == len(names) - 1:
                raise
            reason = str(error).strip().splitlines()[0]
            log.warning("%s cannot be used, the next is tried: %s", name, reason)
            continue
        if ONNX_NAMES["cpu"] in names:  # for a GPU that fails later, while it runs
            session.enable_fallback()
        return session
    raise ValueError("no provider is requested")


def in_use(session: ort.InferenceSession) -> str:
    """The provider that a session prefers: the first it really has."""
    first: str = session.get_providers()[0]
    names = {onnx: name for name, onnx in ONNX_NAMES.items()}
    return names.get(first, first)


def forbids_cpu(allowed: Sequence[Provider]) -> bool:
    """Whether nodes may not fall back to the CPU: it was not allowed."""
    return "cpu" not in allowed
