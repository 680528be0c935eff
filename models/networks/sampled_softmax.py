"""Sampled softmax: the preference likelihood from a sample of the items, for large catalogues.

A target's likelihood needs the user's partition function Z_b = sum_i exp(score_bi), and with it
B x I scores in time and memory. Z_b is estimated by importance sampling (Bengio and Senecal 2008,
"Adaptive importance sampling to accelerate training of a neural probabilistic language model";
Jean et al. 2015, "On using very large target vocabulary for neural machine translation"):

    Z_b ~ sum_{targets t of b} exp(score_bt) + sum_{drawn j, no target of b} weight_j exp(score_bj)

with weight_j = draws of j / expected draws of j. The targets are known, so they count in full, and
a drawn item that is a target (an accidental hit) counts once, as the target. The estimate of Z_b is
unbiased whatever the proposal and exact if every item is surely drawn once; the gradient of its
logarithm is the self-normalised importance sampling of the paper. The sample is the whole batch's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.networks.hybrid_vae import HybridVAE, UserVectors


@dataclass(frozen=True)
class Negatives:
    """M distinct items drawn for a batch, ascending: int64 [M]; log of their weights: float32."""

    items_M: Tensor
    log_weight_M: Tensor

    def to(self, device: torch.device) -> Negatives:
        """The same sample on another device."""
        return Negatives(self.items_M.to(device), self.log_weight_M.to(device))


def sampled_log_softmax(
    network: HybridVAE, users: UserVectors, rows_T: Tensor, items_T: Tensor, negatives: Negatives
) -> Tensor:
    """log softmax of the preference at each target, its normaliser estimated: [T].

    rows_T, items_T: int64, *all* targets of the batch's users, each pair once.
    """
    drawn_BM, target_T = network.some_logits(users, negatives.items_M, rows_T, items_T)
    drawn_BM = drawn_BM + negatives.log_weight_M
    drawn_BM = drawn_BM.masked_fill(
        _accidental_hits(drawn_BM, rows_T, items_T, negatives), -torch.inf
    )
    return target_T - _log_partition(target_T, drawn_BM, rows_T)[rows_T]


def _accidental_hits(
    drawn_BM: Tensor, rows_T: Tensor, items_T: Tensor, negatives: Negatives
) -> Tensor:
    """Which drawn items are targets of which user, bool [B, M]."""
    column_T = torch.searchsorted(negatives.items_M, items_T).clamp(max=drawn_BM.shape[1] - 1)
    hit_T = negatives.items_M[column_T] == items_T
    hits_BM = torch.zeros_like(drawn_BM, dtype=torch.bool)
    return hits_BM.index_put((rows_T[hit_T], column_T[hit_T]), hit_T[hit_T])


def _log_partition(target_T: Tensor, drawn_BM: Tensor, rows_T: Tensor) -> Tensor:
    """log of the sum of exponentials of a user's targets and drawn items, [B]."""
    highest_B = drawn_BM.detach().amax(dim=1)
    highest_B = highest_B.scatter_reduce(0, rows_T, target_T.detach(), "amax")
    drawn_B = torch.exp(drawn_BM - highest_B[:, None]).sum(dim=1)
    targets_T = torch.exp(target_T - highest_B[rows_T])
    return highest_B + torch.log(drawn_B.index_put((rows_T,), targets_T, accumulate=True))
