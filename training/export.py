"""From a fitted network to the graphs of a bundle, checked before anything is published.

The graphs answer for real histories and must agree with torch. Selection on int8 may miss an item:
where it does on the examples, its graph is left out, and the service selects in float32.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.histories import Histories
from models.manifest import GraphSpec, Parity, RatingScale, TensorSpec
from models.networks.graphs import FoldInNetwork, RateGraph, RecommendGraph
from models.networks.narrowing import narrowed
from models.networks.selectors import ExactSelector, Selector, TwoStageSelector
from training.errors import ExportError
from training.onnx_files import run_graph, share_weights, trace

TOLERANCE = 1e-3  # equality of answers, DESIGN section 6
TIE = 1e-5  # scores closer than this, or than this share of them, may change places
LARGEST_K, USUAL_K = 100, 10
TWO_STAGES_FROM = 20_000
"""Items from which selection is on int8: at 87,585 it pays, at 9,742 it took as long as float32 for
K 10 and longer for 100; between them nothing was measured."""

log = logging.getLogger(__name__)

Traced = tuple[onnx.ModelProto, Path]


@dataclass(frozen=True)
class ExportedGraphs:
    """What `export_graphs` wrote into a folder."""

    recommend: GraphSpec
    recommend_int8: GraphSpec | None
    rate: GraphSpec
    top_k: int
    parity: Parity
    parity_int8: Parity | None


def export_graphs(
    network: FoldInNetwork, items: int, scale: RatingScale, examples: Histories, folder: Path
) -> ExportedGraphs:
    """Write the graphs and weights.bin to `folder`, and check them on `examples`.

    recommend.onnx and rate.onnx always, recommend-int8.onnx if there are enough items for it to pay
    and it misses none. Raises ExportError if an answer of the first two differs from torch's by
    more than TOLERANCE, or an item's place by more than a tie.
    """
    top_k = min(LARGEST_K, items)
    histories = Histories.concatenate([examples, Histories.empty(1)])
    network, moved = _narrowed(network, scale, histories)
    table = network.preference_table()
    rate = RateGraph(network, scale).eval()
    rate_spec = GraphSpec(file="rate.onnx", inputs=rate.inputs(), outputs=rate.outputs())
    rate_file = (
        trace(rate, rate_spec, rate_inputs(tracing_histories(items))),
        folder / rate_spec.file,
    )
    exact_selector = ExactSelector(table)
    exact = RecommendGraph(network, scale, exact_selector).eval()
    spec = recommend_spec(items, "recommend.onnx")
    exact_file = traced_selection(network, items, scale, exact_selector, folder / spec.file)
    share_weights([exact_file, rate_file])

    feeds = [recommend_inputs(histories, items, k) for k in (min(USUAL_K, top_k), top_k)]
    expected = [run_torch(exact, spec.inputs, feed) for feed in feeds]
    rated = run_torch(rate, rate_spec.inputs, rate_inputs(histories))
    parity = _parity(expected, [run_graph(folder / spec.file, feed) for feed in feeds])
    found = run_graph(folder / rate_spec.file, rate_inputs(histories))
    difference = max(parity.max_abs_difference, *map(largest_difference, rated, found))
    if difference > TOLERANCE or parity.identical_top_k < 1:
        raise ExportError(
            f"The exported graphs disagree with the network: largest difference {difference:.2g}, "
            f"equal top {top_k} for {parity.identical_top_k:.1%} of {parity.histories} histories."
        )
    parity = parity.model_copy(update={"max_abs_difference": difference, "narrowed_by": moved})

    if items < TWO_STAGES_FROM:
        return ExportedGraphs(spec, None, rate_spec, top_k, parity, None)
    int8 = recommend_spec(items, "recommend-int8.onnx")
    selector = TwoStageSelector(table, top_k)
    int8_file = traced_selection(network, items, scale, selector, folder / int8.file)
    share_weights([exact_file, rate_file, int8_file])
    parity_int8 = _parity(expected, [run_graph(folder / int8.file, feed) for feed in feeds])
    if parity_int8.identical_top_k == 1:
        return ExportedGraphs(spec, int8, rate_spec, top_k, parity, parity_int8)
    log.warning(
        "Selection on int8 misses an item for %.1f%% of %d histories, so it is left out.",
        100 * (1 - parity_int8.identical_top_k), parity_int8.histories,
    )  # fmt: skip
    int8_file[1].unlink()
    share_weights([exact_file, rate_file])
    return ExportedGraphs(spec, None, rate_spec, top_k, parity, None)


def _narrowed(
    network: FoldInNetwork, scale: RatingScale, histories: Histories
) -> tuple[FoldInNetwork, float]:
    """The network as it is to be served, and how far that moves an answer at most.

    With rating factors in half precision, or as it is if they would move answers by half of what
    counts as equal.
    """
    narrow = narrowed(network)
    before, after = (RateGraph(each, scale).eval() for each in (network, narrow))
    feed = rate_inputs(histories)
    answers = (run_torch(graph, graph.inputs(), feed) for graph in (before, after))
    moved = max(map(largest_difference, *answers))
    return (narrow, moved) if moved <= TOLERANCE / 2 else (network, 0.0)


def recommend_spec(items: int, file: str) -> GraphSpec:
    """What the manifest says of a graph that recommends."""
    return GraphSpec(
        file=file, inputs=RecommendGraph.inputs(items), outputs=RecommendGraph.outputs()
    )


def traced_selection(
    network: FoldInNetwork, items: int, scale: RatingScale, selector: Selector, path: Path
) -> Traced:
    """A graph that recommends what the selector chooses, and where it is to be written."""
    graph = RecommendGraph(network, scale, selector).eval()
    feed = recommend_inputs(tracing_histories(items), items, min(7, items))
    return trace(graph, recommend_spec(items, path.name), feed), path


def _parity(expected: list[list[NDArray[Any]]], found: list[list[NDArray[Any]]]) -> Parity:
    """Compare rankings of the same histories for the usual K and the largest."""
    same = np.logical_and(*map(same_ranking, expected, found))
    scores = ((mine[1], theirs[1]) for mine, theirs in zip(expected, found, strict=True))
    return Parity(
        histories=len(same),
        max_abs_difference=max(largest_difference(*pair) for pair in scores),
        identical_top_k=float(same.mean()),
    )


def same_ranking(expected: list[NDArray[Any]], found: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """bool [B]: whether two answers list the same items in the same places, ties apart."""
    items_BK, scores_BK = expected[0], expected[1]
    other_items_BK, other_scores_BK = found[0], found[1]
    with np.errstate(invalid="ignore"):
        apart_BK = np.abs(scores_BK.astype(np.float64) - other_scores_BK.astype(np.float64))
        close_BK = apart_BK <= TIE * np.maximum(1, np.abs(scores_BK))
    both_closed_BK = np.isneginf(scores_BK) & np.isneginf(other_scores_BK)
    same: NDArray[np.bool_] = ((items_BK == other_items_BK) | close_BK | both_closed_BK).all(axis=1)
    return same


def largest_difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest absolute difference of two arrays; equal infinities differ by nothing."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return float(np.nan_to_num(difference, nan=0.0).max(initial=0.0))


def recommend_inputs(histories: Histories, items: int, k: int) -> dict[str, NDArray[Any]]:
    """Inputs of recommend.onnx: the best K of everything but what the histories hold."""
    return _history_inputs(histories) | {
        "excluded_items": histories.items.astype(np.int64),
        "excluded_offsets": histories.offsets.astype(np.int64),
        "allowed": np.ones(items, np.bool_),
        "k": np.array(k, np.int64),
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
def run_torch(
    graph: nn.Module, inputs: tuple[TensorSpec, ...], feed: dict[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    """What torch answers."""
    outputs: tuple[Tensor, ...] = graph(*(torch.from_numpy(feed[t.name]) for t in inputs))
    return [output.numpy() for output in outputs]
