"""ONNX files: tracing a graph, sharing the weights of several, running one.

torch.export traces a graph with sizes that vary (`Dim.DYNAMIC`); the weights of all graphs of a
bundle go once into weights.bin, page-aligned, so that onnxruntime maps instead of copying them.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from models.manifest import GraphSpec
from training.errors import ExportError

OPSET = 20
WEIGHTS = "weights.bin"
PAGE = 4096
SMALLEST_SHARED = 1024  # bytes; below it a tensor stays inside the graph's file


def trace(graph: nn.Module, spec: GraphSpec, inputs: dict[str, NDArray[Any]]) -> onnx.ModelProto:
    """Trace one graph with its batch, history and target sizes left open."""
    arguments = tuple(torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs)
    dynamic = tuple(
        {0: torch.export.Dim.DYNAMIC} if tensor.shape and isinstance(tensor.shape[0], str) else None
        for tensor in spec.inputs
    )
    # torch talks of its own internals here; whether the export is right is checked afterwards.
    for talker in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(talker).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            arguments,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_shapes=dynamic,
        )
    if program is None:
        raise ExportError("torch.onnx.export returned no program.")
    proto: onnx.ModelProto = program.model_proto
    for node in proto.graph.node:  # traces of the tracing machine's paths are nobody's business
        del node.metadata_props[:]
        node.doc_string = ""
    return proto


def share_weights(graphs: Iterable[tuple[onnx.ModelProto, Path]]) -> None:
    """Write graphs whose large initialisers lie once, by content, in weights.bin beside them."""
    places: dict[bytes, tuple[int, int]] = {}
    pending = []
    for proto, path in graphs:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        pending.append((copy, path))
    with (pending[0][1].parent / WEIGHTS).open("wb") as weights:
        for proto, _ in pending:
            for tensor in proto.graph.initializer:
                content = onnx.numpy_helper.to_array(tensor).tobytes()
                if len(content) < SMALLEST_SHARED:
                    continue
                key = hashlib.sha256(content).digest()
                if key not in places:
                    weights.write(b"\0" * (-weights.tell() % PAGE))
                    places[key] = (weights.tell(), len(content))
                    weights.write(content)
                _point_to(tensor, *places[key])
    for proto, path in pending:
        onnx.save_model(proto, path)


def _point_to(tensor: onnx.TensorProto, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def run_graph(path: Path, feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """What onnxruntime answers, on one thread, as in the service.

    Its ScatterND adds to one row from several threads without a lock (microsoft/onnxruntime#18048).
    """
    return [np.asarray(output) for output in cpu_session(path).run(None, feed)]


def cpu_session(path: Path) -> onnxruntime.InferenceSession:
    """A session of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
