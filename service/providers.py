"""Execution providers: what the operator allows, what onnxruntime really uses.

onnxruntime lists providers it cannot start and falls back to the CPU in silence; only a session
can tell. A provider in use that was not allowed is a mismatch, and the worker is not ready.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime as ort

from service.settings import Provider

ONNX_NAMES: dict[Provider, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}


def requested(allowed: Sequence[Provider]) -> list[str]:
    """The names to ask a session for: those allowed that this build of onnxruntime knows."""
    known = set(ort.get_available_providers())
    return [ONNX_NAMES[name] for name in allowed if ONNX_NAMES[name] in known]


def in_use(session: ort.InferenceSession) -> str:
    """The provider that a session prefers: the first it really has."""
    first: str = session.get_providers()[0]
    names = {onnx: name for name, onnx in ONNX_NAMES.items()}
    return names.get(first, first)


def forbids_cpu(allowed: Sequence[Provider]) -> bool:
    """Whether nodes may not fall back to the CPU: it was not allowed."""
    return "cpu" not in allowed
