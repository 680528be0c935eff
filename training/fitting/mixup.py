"""Mixup of users: a batch of users that lie between two users each (Zhang et al. 2018, "mixup").

A history is a set, so it is mixed by sampling its entries (as CutMix samples pixels, Yun et al.
2019): the mixed user keeps each of user a's entries with probability s and takes each of partner
b's with 1 - s, s ~ Beta(alpha, alpha), visible ones, hidden ones and lessons alike. In expectation
the summed input is s x_a + (1 - s) x_b and the summed loss s loss_a + (1 - s) loss_b.

One coin decides for an item that both users have: the mixed user has it from exactly one of them,
rated and hidden or visible as there. So no pair occurs twice, nothing scored is also encoded, and
each of the two probabilities is still what it should be. A teacher's distribution over the items
is mixed as labels are, s p_a + (1 - s) p_b (Zhang et al., eq. 1).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.networks.loss import Hidden, Lessons

if TYPE_CHECKING:
    from training.fitting.batches import Batch


def mixed(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Every user of the batch mixed with one at random, perhaps the same; as many users as before.

    alpha: above 0; small ones leave most users nearly as they are, 1 mixes at every share alike.
    """
    shares_B = rng.beta(alpha, alpha, batch.users)
    return mix(batch, rng.permutation(batch.users), shares_B, rng)


def mix(
    batch: Batch,
    partners_B: NDArray[np.int64],
    shares_B: NDArray[np.float64],
    rng: np.random.Generator,
) -> Batch:
    """User b at share shares_B[b] with user partners_B[b]; partners are a permutation."""
    hidden, lessons = batch.hidden, batch.lessons
    parts = [(batch.rows_N, batch.items_N), (hidden.rows_T, hidden.items_T)]
    if lessons is not None:
        parts.append((lessons.rows_S, lessons.items_S))
    rows, entries = _taken(parts, partners_B, shares_B, rng)
    visible_N, hidden_T = entries[0], entries[1]
    return replace(
        batch,
        items_N=batch.items_N[visible_N],
        ratings_N=batch.ratings_N[visible_N],
        rows_N=rows[0],
        hidden=Hidden(
            rows[1], hidden.items_T[hidden_T], hidden.ratings_T[hidden_T], hidden.liked_T[hidden_T]
        ),
        lessons=lessons
        and Lessons(
            rows[2],
            lessons.items_S[entries[2]],
            lessons.ratings_S[entries[2]],
            _mixed_preference(lessons.preference_BI, partners_B, shares_B),
        ),
    )


def _taken(
    parts: list[tuple[Tensor, Tensor]],
    partners_B: NDArray[np.int64],
    shares_B: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[list[Tensor], list[Tensor]]:
    """For each part (rows, items): the rows it has once mixed, and which entries they come from."""
    rows, items = (np.concatenate([part[i].numpy() for part in parts]) for i in (0, 1))
    # Every entry is wanted twice: by its user, and by the one whose partner that user is.
    wanted_by = np.concatenate([rows, np.argsort(partners_B)[rows]])
    own = np.arange(len(wanted_by)) < len(rows)
    pairs = wanted_by * (items.max(initial=0) + 1) + np.tile(items, 2)
    distinct, coin_of = np.unique(pairs, return_inverse=True)
    coins = rng.random(len(distinct))[coin_of]
    taken = np.flatnonzero((coins < shares_B[wanted_by]) == own)
    part_of = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    entry_of = np.concatenate([np.arange(len(part[0])) for part in parts])
    belongs, entry = part_of[taken % len(rows)], entry_of[taken % len(rows)]
    return (
        [torch.from_numpy(wanted_by[taken[belongs == p]]) for p in range(len(parts))],
        [torch.from_numpy(entry[belongs == p]) for p in range(len(parts))],
    )


def _mixed_preference(
    taught_BI: Tensor | None, partners_B: NDArray[np.int64], shares_B: NDArray[np.float64]
) -> Tensor | None:
    """Each user's taught distribution mixed with the partner's."""
    if taught_BI is None:
        return None
    own_B = torch.from_numpy(shares_B.astype(np.float32))
    return torch.lerp(taught_BI[torch.from_numpy(partners_B)], taught_BI, own_B[:, None])
