"""How the service calls a bundle's graphs, and whether they are graphs that can be called so."""

from __future__ import annotations

from collections.abc import Sequence

from models.manifest import GraphSpec, Manifest
from service.errors import ModelNotServable

RECOMMEND_INPUTS = (
    "history_items",
    "history_ratings",
    "history_offsets",
    "excluded_items",
    "excluded_offsets",
    "allowed",
    "k",
)
RECOMMEND_OUTPUTS = ("items", "scores", "ratings", "spreads")
RATE_INPUTS = (
    "history_items",
    "history_ratings",
    "history_offsets",
    "target_items",
    "target_rows",
)
RATE_OUTPUTS = ("ratings", "spreads", "scores")


def check_graphs(manifest: Manifest) -> None:
    """Raises ModelNotServable if the graphs are not those this service calls."""
    _check_graph(manifest.recommend, RECOMMEND_INPUTS, RECOMMEND_OUTPUTS)
    _check_graph(manifest.rate, RATE_INPUTS, RATE_OUTPUTS)


def _check_graph(graph: GraphSpec, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    found = ({spec.name for spec in graph.inputs}, {spec.name for spec in graph.outputs})
    if found != (set(inputs), set(outputs)):
        raise ModelNotServable(
            f"The graph {graph.file} takes {sorted(found[0])} and gives {sorted(found[1])}; "
            f"this service calls graphs that take {sorted(inputs)} and give {sorted(outputs)}."
        )
