"""Which techniques reshape a network's parameters while it is trained, and what they learn from.

One line each; `models.networks.collapse` ends them all once the network is fitted.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from models.histories import Histories
from models.networks.feature_offsets import add_item_features
from models.networks.hybrid_vae import HybridVAE
from models.networks.rater_encoding import encode_from_raters
from models.networks.spectral import normalise_spectrally
from training.baselines import BiasBaseline
from training.config import Configuration
from training.errors import ConfigurationError
from training.ratings import Ratings
from training.split import Rows


def parametrize(
    network: HybridVAE,
    features_IA: Tensor,
    ratings: Ratings,
    rows: Rows,
    bias: BiasBaseline,
    configuration: Configuration,
) -> None:
    """Apply what the configuration asks for to an untrained network, started by `bias`.

    features_IA: float32 [I, A]. Nothing but `rows` of the ratings is used. Raises
    ConfigurationError where raters are too few.
    """
    wanted = configuration.network
    if wanted.rater_encoding is not None:  # first: it may take the place of the free factors
        raters = raters_of(ratings, rows, bias, configuration.training.batch_users)
        encode_from_raters(network, raters, len(ratings.user_ids), wanted.rater_encoding)
    if wanted.item_features:
        add_item_features(network, features_IA)
    if wanted.spectral_norm:
        normalise_spectrally(network)


def raters_of(ratings: Ratings, rows: Rows, bias: BiasBaseline, batch_users: int) -> Histories:
    """Who rated each item in `rows`, and by how much above their mean given the items they rated.

    One "history" per item, of user numbers and deviations. A batch's users are left out of the
    pools, so there must be twice as many: raises ConfigurationError otherwise.
    """
    histories = ratings.histories(rows)
    users = np.count_nonzero(histories.lengths)
    if 2 * batch_users > users:
        raise ConfigurationError(
            f"network.rater_encoding leaves a batch's users out of the pools, and {batch_users} "
            f"of {users} leave too few: lower training.batch_users to {users // 2} or less."
        )
    expected = bias.mean + bias.user_biases(histories)[histories.rows]
    return Histories.from_columns(
        histories.items, histories.rows, histories.ratings - expected, len(ratings.catalog)
    )
