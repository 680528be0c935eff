"""Ratings left out of a history: what would be said if the user had not given them."""

from __future__ import annotations

import numpy as np

from models.histories import Histories

LEFT_OUT_RATINGS = 1_000_000
"""Ratings a caller may have encoded again by leaving others out."""


def without(history: Histories, item: int) -> Histories:
    """The same history (one row) as if one item had not been rated."""
    kept = history.items != item
    items = history.items[kept]
    return Histories(items, history.ratings[kept], np.array([0, len(items)], np.int64))
