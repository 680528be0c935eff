"""A linear path from liked items to the preference scores, beside the deep one.

    scores = deep logits + sharpness * (sum of in_i over the liked items i of the history) @ out^T

A shallow autoencoder and a deep one rank better together than either (Vancura and Kordik 2021,
"Deep variational autoencoder with shallow parallel path for top-N recommendation (VASP)"). Here
the path is EASE at rank R: `training.baselines.low_rank_ease` counts both tables, and the sharpness
is chosen on validation rows once the deep path is fitted. The deep path is fitted by itself:
fitted together, it turned to mending the likelihood of what EASE says and the ranking of both
fell below that of EASE alone (EXPERIMENTS.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SHARPNESS = 20.0  # until one is chosen


class ShallowPath(nn.Module):
    """Votes of liked items for all items, of rank R."""

    def __init__(self, items: int, levels: int, rank: int) -> None:
        super().__init__()
        self.in_IR: Tensor
        self.out_IR: Tensor
        self.liked_L: Tensor
        self.sharpness: Tensor
        self.register_buffer("in_IR", torch.zeros(items, rank))
        self.register_buffer("out_IR", torch.zeros(items, rank))
        self.register_buffer("liked_L", torch.zeros(levels))
        self.register_buffer("sharpness", torch.tensor(SHARPNESS))

    @torch.no_grad()
    def start(self, in_IR: Tensor, out_IR: Tensor, liked_L: Tensor) -> None:
        """Set both tables, float32 [I, R], and which levels count as liked, 0 or 1 each [L]."""
        self.in_IR.copy_(in_IR)
        self.out_IR.copy_(out_IR)
        self.liked_L.copy_(liked_L)

    def pool(self, items_N: Tensor, levels_N: Tensor, rows_N: Tensor, users: int) -> Tensor:
        """The votes of each history, [B, R]; 0 for one without a liked item."""
        votes_NR = (
            functional.embedding(items_N, self.in_IR)
            * self.liked_L.index_select(0, levels_N)[:, None]
        )
        votes_BR = votes_NR.new_zeros(users, votes_NR.shape[1])
        return votes_BR.index_put((rows_N,), votes_NR, accumulate=True)

    def sharpened(self, votes_BR: Tensor) -> Tensor:
        """The votes in units of the preference scores, [B, R]; `out_IR` is the items' side."""
        return votes_BR * self.sharpness
