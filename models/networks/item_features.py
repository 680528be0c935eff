"""What is known of items beside their ratings, as columns of a matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.catalog import Catalog


def item_features(catalog: Catalog) -> NDArray[np.float32]:
    """Genres and decades of release as 0 and 1, float32 [I, A]; A is 0 if nothing is known.

    An item of unknown year has no decade.
    """
    decades = catalog.years // 10
    known = np.unique(decades[catalog.years > 0])
    columns = [catalog.genres, decades[:, None] == known]
    return np.concatenate(columns, axis=1).astype(np.float32)
