"""Which items a batch's sampled softmax draws: by smoothed popularity, each at most about once.

The proposal is the number of likes, plus one, to the power 3/4 (Mikolov et al. 2013, "Distributed
representations of words and phrases", section 2.2): near what the softmax itself becomes, and with
more of the tail. Expected draws are capped at one an item, so no draw is wasted on a second copy,
and `negatives` as large as the catalogue is the full softmax.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.histories import Histories
from models.networks.sampled_softmax import Negatives
from training.world import ALONE, World

SMOOTHING = 0.75


@dataclass(frozen=True)
class Proposal:
    """Expected draws of each item, float64 [I], by falling expectation; their items, int64 [I]."""

    items_I: NDArray[np.int64]
    expected_I: NDArray[np.float64]
    cumulative_I: NDArray[np.float64]

    @staticmethod
    def of(
        histories: Histories, items: int, liked_from: float, draws: int, world: World = ALONE
    ) -> Proposal:
        """The proposal for a catalogue of I `items`, from the likes in everybody's `histories`."""
        liked = histories.items[histories.ratings >= liked_from]
        likes_I = world.sum(np.bincount(liked, minlength=items))
        popularity_I = np.power(likes_I + 1.0, SMOOTHING)
        expected_I = expected_draws(popularity_I, min(draws, items))
        order_I = np.argsort(-expected_I, kind="stable")
        return Proposal(order_I, expected_I[order_I], np.cumsum(expected_I[order_I]))

    def draw(self, rng: np.random.Generator) -> Negatives:
        """One item from each unit of the cumulated expectations (stratified sampling).

        Items surely drawn come first and fill a unit each, so they are drawn exactly once.
        """
        units = round(float(self.cumulative_I[-1]))
        points = np.arange(units) + rng.random(units)
        drawn = np.searchsorted(self.cumulative_I, points, side="right")
        places, draws = np.unique(drawn.clip(max=len(self.items_I) - 1), return_counts=True)
        items, weights = self.items_I[places], draws / self.expected_I[places]
        ascending = np.argsort(items)
        return Negatives(
            torch.from_numpy(items[ascending]),
            torch.from_numpy(np.log(weights[ascending]).astype(np.float32)),
        )


def expected_draws(popularity_I: NDArray[np.float64], draws: int) -> NDArray[np.float64]:
    """min(1, c * popularity), float64 [I], with c such that it sums to `draws` <= I."""
    expected_I = np.ones_like(popularity_I)
    open_I = np.ones(len(popularity_I), np.bool_)
    while open_I.any():
        left = draws - np.count_nonzero(~open_I)
        expected_I[open_I] = left * popularity_I[open_I] / popularity_I[open_I].sum()
        over_I = open_I & (expected_I >= 1)
        if not over_I.any():
            break
        expected_I[over_I] = 1.0
        open_I &= ~over_I
    return expected_I
