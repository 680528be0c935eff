"""The flat layout of models.histories inside a network: offsets to rows, sums by row.

What an exported graph reads by index is read by `index_select` or `embedding`, which become one
Gather; indexing by a tensor becomes three nodes, and a request is made of many small ones.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rows_of(offsets: Tensor, entries_N: Tensor) -> Tensor:
    """Which row each flat entry belongs to, int64 [N]: how many rows ended at or before it.

    A cumulative sum of row ends: exact in integers, and empty rows count as they should.
    """
    ends = entries_N.new_zeros(entries_N.shape[0] + 1)
    ends = ends.index_put((offsets[1:],), torch.ones_like(offsets[1:]), accumulate=True)
    return torch.cumsum(ends, dim=0)[:-1]


def sum_by_row(values_N: Tensor, rows_N: Tensor, rows: int) -> Tensor:
    """Sums of the values of each row, [rows]; 0 for a row without any."""
    return values_N.new_zeros(rows).index_put((rows_N,), values_N, accumulate=True)


def add_by_row(values_NF: Tensor, rows_N: Tensor, rows: int) -> Tensor:
    """Sums of the vectors of each row, [rows, F]; 0 for a row without any."""
    sums = values_NF.new_zeros(rows, values_NF.shape[1])
    return sums.index_put((rows_N,), values_NF, accumulate=True)
