"""What a network costs to serve: its exported graph, weighed and timed on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from models.histories import Histories
from models.manifest import GraphSpec, RatingScale
from models.networks.graphs import FoldInNetwork, RateGraph, Rater
from models.networks.selectors import ExactSelector
from training.ensembles.ensemble_report import Price
from training.export import rate_inputs, recommend_inputs, traced_selection, tracing_histories
from training.onnx_files import WEIGHTS, cpu_session, share_weights, trace

TOP_K = 100
WARM_UP, REQUESTS = 20, 100


def price_of(network: Rater, items: int, scale: RatingScale, histories: Histories) -> Price:
    """Bytes of weights and the median milliseconds of one request for a user of median history.

    A network that ranks is asked for the top 100, one that only rates to rate 100 items, which is
    its part of such a request.
    """
    top_k = min(TOP_K, items)
    history = histories.take([int(np.argsort(histories.lengths)[len(histories) // 2])])
    with TemporaryDirectory() as name:
        path = Path(name) / "graph.onnx"
        if isinstance(network, FoldInNetwork):
            selector = ExactSelector(network.preference_table())
            proto, _ = traced_selection(network, items, scale, selector, path)
            feed = recommend_inputs(history, items, top_k)
        else:
            rate = RateGraph(network, scale).eval()
            spec = GraphSpec(file=path.name, inputs=rate.inputs(), outputs=rate.outputs())
            proto = trace(rate, spec, rate_inputs(tracing_histories(items)))
            feed = rate_inputs(history) | {
                "target_items": np.arange(top_k), "target_rows": np.zeros(top_k, np.int64)
            }  # fmt: skip
        share_weights([(proto, path)])
        return Price(
            weight_bytes=(path.parent / WEIGHTS).stat().st_size,
            milliseconds=_milliseconds(path, feed),
        )


def _milliseconds(path: Path, feed: dict[str, np.ndarray]) -> float:
    session = cpu_session(path)
    seconds = []
    for _ in range(WARM_UP + REQUESTS):
        start = time.perf_counter()
        session.run(None, feed)
        seconds.append(time.perf_counter() - start)
    return round(1000 * median(seconds[WARM_UP:]), 3)
