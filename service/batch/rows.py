"""The recommendations of one part's users as arrays: filled batch by batch, flattened at the end.

P users, at most K items each. Nothing here is a Python object per recommendation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.batch.plan import PartRecord
from service.top_items import Top


@dataclass(frozen=True)
class Rows:
    """counts int64 [P]; cold bool [P]; the others [P, K], of which row p has counts[p] entries.

    own: the user's own rating of an item, NaN where there is none.
    """

    counts: NDArray[np.int64]
    cold: NDArray[np.bool_]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    ratings: NDArray[np.float32]
    spreads: NDArray[np.float32]
    own: NDArray[np.float32]

    @staticmethod
    def blank(users: int, k: int) -> Rows:
        """Room for `users` users."""
        scores, ratings, spreads = np.empty((3, users, k), np.float32)
        counts, cold = np.zeros(users, np.int64), np.zeros(users, np.bool_)
        items = np.empty((users, k), np.int32)
        own = np.full((users, k), np.nan, np.float32)
        return Rows(counts, cold, items, scores, ratings, spreads, own)

    def fill(self, start: int, tops: Sequence[Top]) -> None:
        """Set the rows of the users from `start` on."""
        for row, (basis, best, own) in enumerate(tops, start):
            count = len(best.items)
            self.counts[row] = count
            self.cold[row] = basis == "cold_start"
            self.items[row, :count] = best.items
            self.scores[row, :count] = best.scores
            self.ratings[row, :count] = best.ratings
            self.spreads[row, :count] = best.spreads
            if own:
                self.own[row, :count] = [own.get(item, np.nan) for item in best.items.tolist()]

    @property
    def filled(self) -> NDArray[np.bool_]:
        """bool [P, K]: where there is a recommendation."""
        return np.arange(self.items.shape[1]) < self.counts[:, None]

    def record(self, name: str) -> PartRecord:
        """What there is of it, in numbers."""
        return PartRecord(
            name=name,
            users=len(self.counts),
            rows=int(self.counts.sum()),
            cold_start_users=int(self.cold.sum()),
            short_users=int((self.counts < self.items.shape[1]).sum()),
        )
