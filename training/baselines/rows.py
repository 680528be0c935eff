"""The rows a baseline is fitted on, as columns; a baseline sees nothing else of the ratings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import ProtocolError
from training.ratings import Ratings


@dataclass(frozen=True)
class FittedRows:
    """n ratings: users int64 [n], items int64 [n], values float64 [n], on the data's scale."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Mean rating, which is where every rating baseline starts."""
        return float(self.values.mean())


def fitted_rows(ratings: Ratings, rows: NDArray[np.int64]) -> FittedRows:
    """The columns of the given rows. Raises ProtocolError if there are none."""
    refuse_no_rows(ratings, rows)
    return FittedRows(
        ratings.users[rows].astype(np.int64),
        ratings.items[rows].astype(np.int64),
        ratings.values[rows].astype(np.float64),
    )


def refuse_no_rows(ratings: Ratings, rows: NDArray[np.int64]) -> None:
    """Raise ProtocolError if there is nothing to fit on."""
    if len(rows) == 0:
        raise ProtocolError(
            f"The protocol leaves no row of {ratings.origin.source} to fit a baseline on; "
            "use more ratings or another protocol."
        )
