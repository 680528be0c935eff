"""The intervals a model is served with: what their widths follow and how far they reach.

Fitted on the validation rows with the network that was chosen there, and then put around the
refitted one: neither has seen the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.networks.graphs import FoldInNetwork
from training.config import Evaluation
from training.evaluation.calibration import Calibrated, calibrated
from training.evaluation.network_predictor import NetworkPredictor
from training.evaluation.spread_regression import Floats, regress_spread, with_spread
from training.ratings import Ratings
from training.split import Fold, Rows


@dataclass(frozen=True)
class FittedIntervals:
    """on_validation: ratings of the fold's hidden rows, float32 [T] by user, then item.

    weights: those of the regressed spread; None where spreads stay as the network has them.
    """

    on_validation: NDArray[np.float32]
    reach: Calibrated
    weights: Floats | None

    def around(self, network: FoldInNetwork, ratings: Ratings, rows: Rows) -> FoldInNetwork:
        """The network with the spreads that `reach` is of; `rows` are those it was fitted on."""
        if self.weights is None:
            return network
        return with_spread(network, ratings, rows, self.weights)


def fit_intervals(
    network: FoldInNetwork, ratings: Ratings, rows: Rows, fold: Fold, asked: Evaluation
) -> FittedIntervals:
    """Fit intervals for a network, fitted on `rows`, on the hidden rows of a fold."""
    visible, hidden = ratings.histories(fold.visible), ratings.histories(fold.hidden)
    predictor = NetworkPredictor("chosen", network, (ratings.scale.minimum, ratings.scale.maximum))
    predicted, learned = predictor.rate_with_spread(visible, hidden.rows, hidden.items)
    if asked.spread == "learned":
        reach = calibrated(hidden.ratings, predicted, learned, asked.coverage)
        return FittedIntervals(predicted, reach, None)
    weights, spread = regress_spread(network, ratings, rows, fold, asked.coverage)
    reach = calibrated(hidden.ratings, predicted, spread, asked.coverage)
    return FittedIntervals(predicted, reach, weights)
