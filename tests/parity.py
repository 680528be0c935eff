"""Whether a network answers from ONNX as it does from torch, for histories of every length."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.histories import Histories
from models.manifest import RatingScale
from models.networks.graphs import FoldInNetwork
from training.export import export_graphs

LENGTHS = (0, 1, 3, 10_000, 0, 7)
CLOSE = 1e-4


def random_histories(items: int, scale: RatingScale, lengths: tuple[int, ...]) -> Histories:
    """Histories of the given lengths; items are drawn with replacement."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rated = rng.integers(0, items, offsets[-1])
    return Histories(rated, rng.choice(scale.levels, offsets[-1]), offsets.astype(np.int64))


def check_exported(network: FoldInNetwork, items: int, scale: RatingScale, folder: Path) -> None:
    """Export both graphs and compare; `export_graphs` raises where they disagree."""
    examples = random_histories(items, scale, LENGTHS)
    parity = export_graphs(network, items, scale, examples, folder).parity
    assert parity.max_abs_difference < CLOSE
    assert parity.identical_top_k == 1
