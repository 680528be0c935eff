"""From a fitted network to a bundle: two ONNX graphs over one set of weights, checked, described.

torch.export traces each graph with sizes that vary (`Dim.DYNAMIC`); the weights of both go once
into weights.bin, page-aligned, so that onnxruntime maps instead of copying them. Before anything
is published, the graphs answer for real histories and must agree with torch.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.histories import Histories
from models.manifest import GraphSpec, Parity, RatingScale, TensorSpec
from models.networks.graphs import FoldInNetwork, RateGraph, RecommendGraph
from training.errors import ExportError

OPSET = 20
WEIGHTS = "weights.bin"
PAGE = 4096
SMALLEST_SHARED = 1024  # bytes; below it a tensor stays inside the graph's file
TOLERANCE = 1e-3  # equality of answers, DESIGN section 6
TIE = 1e-5  # scores closer than this may change places


@dataclass(frozen=True)
class ExportedGraphs:
    """What `export_graphs` wrote into a folder."""

    recommend: GraphSpec
    rate: GraphSpec
    top_k: int
    parity: Parity


def export_graphs(
    network: FoldInNetwork, items: int, scale: RatingScale, examples: Histories, folder: Path
) -> ExportedGraphs:
    """Write recommend.onnx, rate.onnx and weights.bin to `folder`, and check them on `examples`.

    Raises ExportError if an answer differs from torch's by more than TOLERANCE, or an item's place
    by more than a tie.
    """
    top_k = min(100, items)
    recommend = RecommendGraph(network, scale, top_k).eval()
    rate = RateGraph(network, scale).eval()
    specs = {
        "recommend": GraphSpec(
            file="recommend.onnx",
            inputs=recommend.inputs(items),
            outputs=recommend.outputs(top_k),
        ),
        "rate": GraphSpec(file="rate.onnx", inputs=rate.inputs(), outputs=rate.outputs()),
    }
    graphs = {
        "recommend": trace(
            recommend, specs["recommend"], recommend_inputs(tracing_histories(items), items)
        ),
        "rate": trace(rate, specs["rate"], rate_inputs(tracing_histories(items))),
    }
    share_weights([(graphs[name], folder / spec.file) for name, spec in specs.items()])
    parity = check_parity(recommend, rate, specs, examples, items, folder)
    return ExportedGraphs(specs["recommend"], specs["rate"], top_k, parity)


def trace(graph: nn.Module, spec: GraphSpec, inputs: dict[str, NDArray[Any]]) -> onnx.ModelProto:
    """Trace one graph with its batch, history and target sizes left open."""
    arguments = tuple(torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs)
    dynamic = tuple({0: torch.export.Dim.DYNAMIC} for _ in arguments)
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
    pending = list(graphs)
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


def check_parity(
    recommend: RecommendGraph,
    rate: RateGraph,
    specs: dict[str, GraphSpec],
    examples: Histories,
    items: int,
    folder: Path,
) -> Parity:
    """Compare onnxruntime with torch on `examples` and an empty history, seen items excluded."""
    histories = Histories.concatenate([examples, Histories.empty(1)])
    feeds = {"recommend": recommend_inputs(histories, items), "rate": rate_inputs(histories)}
    expected, found = {}, {}
    for name, graph in (("recommend", recommend), ("rate", rate)):
        expected[name] = _run_torch(graph, specs[name].inputs, feeds[name])
        found[name] = _run_onnx(folder / specs[name].file, feeds[name])
    same = same_ranking(expected["recommend"], found["recommend"])
    differences = list(map(largest_difference, expected["rate"], found["rate"]))
    differences.append(largest_difference(expected["recommend"][1], found["recommend"][1]))
    if max(differences) > TOLERANCE or not same.all():
        raise ExportError(
            "The exported graphs disagree with the network: largest difference "
            f"{max(differences):.2g}, equal top {recommend.top_k} for {same.mean():.1%} of "
            f"{len(histories)} histories."
        )
    return Parity(
        histories=len(histories),
        max_abs_difference=max(differences),
        identical_top_k=float(same.mean()),
    )


def same_ranking(expected: list[NDArray[Any]], found: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """bool [B]: whether two answers list the same items in the same places, ties apart."""
    items_BK, scores_BK = expected[0], expected[1]
    other_items_BK, other_scores_BK = found[0], found[1]
    with np.errstate(invalid="ignore"):
        close_BK = np.abs(scores_BK.astype(np.float64) - other_scores_BK.astype(np.float64)) <= TIE
    both_closed_BK = np.isneginf(scores_BK) & np.isneginf(other_scores_BK)
    same: NDArray[np.bool_] = ((items_BK == other_items_BK) | close_BK | both_closed_BK).all(axis=1)
    return same


def largest_difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest absolute difference of two arrays; equal infinities differ by nothing."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return float(np.nan_to_num(difference, nan=0.0).max(initial=0.0))


def recommend_inputs(histories: Histories, items: int) -> dict[str, NDArray[Any]]:
    """Inputs of recommend.onnx: everything allowed but what the histories hold."""
    return _history_inputs(histories) | {
        "excluded_items": histories.items.astype(np.int64),
        "excluded_offsets": histories.offsets.astype(np.int64),
        "filters": np.ones((1, items), np.bool_),
        "filter_rows": np.zeros(len(histories), np.int64),
    }


def rate_inputs(histories: Histories) -> dict[str, NDArray[Any]]:
    """Inputs of rate.onnx: every history's own items, and item 0 for everybody."""
    everybody = np.arange(len(histories), dtype=np.int64)
    return _history_inputs(histories) | {
        "target_items": np.concatenate([histories.items.astype(np.int64), 0 * everybody]),
        "target_rows": np.concatenate([histories.rows, everybody]),
    }


def tracing_histories(items: int) -> Histories:
    """Three users with 3, 0 and 2 ratings: no size equals another, so none is taken for fixed."""
    rated = np.array([0, 1, 2, 1, 2], np.int64) % items
    return Histories(rated, np.full(5, 3.0, np.float32), np.array([0, 3, 3, 5], np.int64))


def _history_inputs(histories: Histories) -> dict[str, NDArray[Any]]:
    return {
        "history_items": histories.items.astype(np.int64),
        "history_ratings": histories.ratings.astype(np.float32),
        "history_offsets": histories.offsets.astype(np.int64),
    }


@torch.inference_mode()
def _run_torch(
    graph: nn.Module, inputs: tuple[TensorSpec, ...], feed: dict[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    outputs: tuple[Tensor, ...] = graph(*(torch.from_numpy(feed[t.name]) for t in inputs))
    return [output.numpy() for output in outputs]


def _run_onnx(path: Path, feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    # One thread, as in the service: onnxruntime's ScatterND adds to one row without a lock.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, feed)]
