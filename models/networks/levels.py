"""Rating levels inside a network: which of them a rating counts as."""

from __future__ import annotations

from torch import Tensor


def nearest_level(ratings_N: Tensor, levels_L: Tensor) -> Tensor:
    """Index of the level nearest to each rating, int64 [N]; half-way to the even one, as in ONNX.

    levels_L: float32 [L], L >= 2, evenly spaced, ascending. Ratings beyond the ends count as them.
    """
    levels = len(levels_L)
    step = (levels_L[-1] - levels_L[0]) / (levels - 1)
    return ((ratings_N - levels_L[0]) / step).round().clamp(0, levels - 1).long()
