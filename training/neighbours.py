"""Which items are like which: the nearest by cosine of the vectors that rank them.

The cosine is shrunk by how many ratings either item was fitted on,

    s(i, j) = cos(v_i, v_j) * sqrt(n_i / (n_i + RIDGE)) * sqrt(n_j / (n_j + RIDGE)),

which is the cosine of vectors that also have a part nobody else shares, the larger the less is
known of the item. Vectors of items rated once or twice hold little but noise, and there are many
of them: on MovieLens latest-small a tenth of the ten nearest of the 500 most rated items had fewer
than 5 ratings ("Hidden Fortress", 2 ratings, for Alien); with it 1 in 2,500 have. A larger ridge
turns neighbours into popular items. The shrinkage is that of item-item models (Koren 2008,
"Factorization meets the neighborhood", eq. 2).
Shapes: I items, D length of a vector, N neighbours, C items of a block.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.item_columns import MAX_NEIGHBOURS, ItemColumns

RIDGE = 5.0  # ratings of an item at which its squared cosines are halved
BLOCK_ENTRIES = 32_000_000  # numbers of a block of similarities: 128 MB whatever the catalogue


@torch.inference_mode()
def item_columns(vectors_ID: Tensor, rating_counts: NDArray[np.int32]) -> ItemColumns:
    """Each item's nearest, block by block: no I x I matrix exists.

    vectors_ID: float32, of which the direction counts; a row of zeros is like nothing.
    rating_counts: int32 [I]. Of items equally near, any may come first.
    """
    items = len(rating_counts)
    width = min(MAX_NEIGHBOURS, items - 1)
    counts_I = torch.from_numpy(np.asarray(rating_counts, np.float32))
    known_I = torch.sqrt(counts_I / (counts_I + RIDGE))
    sides_ID = torch.nn.functional.normalize(vectors_ID.to(torch.float32), dim=1)
    sides_ID = sides_ID * known_I[:, None]
    neighbours_IN = np.empty((items, width), np.int32)
    cosines_IN = np.empty((items, width), np.float32)
    rows = max(1, BLOCK_ENTRIES // items)
    for start in range(0, items, rows):
        block_CI = sides_ID[start : start + rows] @ sides_ID.T
        own_C = torch.arange(len(block_CI))
        block_CI[own_C, own_C + start] = -torch.inf
        nearest_CN, which_CN = torch.topk(block_CI, width, dim=1)
        neighbours_IN[start : start + rows] = which_CN.numpy()
        cosines_IN[start : start + rows] = nearest_CN.numpy()
    return ItemColumns(rating_counts, neighbours_IN, cosines_IN)
