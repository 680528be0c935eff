"""A network whose spreads also say how hard this user and this item are to predict.

    log spread = w . (1, log s, user's facts, item's facts)

s is the spread the network itself gives. Facts of a user, all from the history: log of the variance
of what the item's level leaves of the ratings, log(n + 1) and (n + 1)^-1/2. Facts of an item, all
counted on the fitted rows: the same three. Ratings and preference scores pass through untouched.

Multiplicative heteroscedasticity (Harvey 1976, "Estimating regression models with multiplicative
heteroscedasticity", eq. 2); `training.evaluation.spread_regression` fits w on rows nobody was
fitted on.
Shapes: B users, N ratings in their histories, T pairs, I items, K facts, J = 2 K + 2 terms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.networks.flat import rows_of, sum_by_row
from models.networks.graphs import FoldInNetwork
from models.networks.likelihoods import LOG_SPREAD_RANGE
from models.networks.selectors import PreferenceTable

BIAS_RIDGE = 5.0  # ratings of the level that a bias is shrunk by
VARIANCE_RIDGE = 10.0  # ratings of the common variance that a variance is shrunk by


class ItemFacts(NamedTuple):
    """What counting tells of the items: float32 [I] levels, [I, K] facts, the common variance."""

    levels_I: Tensor
    facts_IK: Tensor
    variance: float


class Users(NamedTuple):
    """What the network makes of the users, and their facts."""

    inner: Any
    facts_BK: Tensor


class ConditionalSpread(nn.Module):
    """A `models.networks.graphs.FoldInNetwork` around another."""

    def __init__(self, network: FoldInNetwork, items: ItemFacts, weights_J: Tensor) -> None:
        super().__init__()
        self.network = network
        self.variance = items.variance
        self.levels_I: Tensor
        self.facts_IK: Tensor
        self.weights_J: Tensor
        self.register_buffer("levels_I", items.levels_I.to(torch.float32))
        self.register_buffer("facts_IK", items.facts_IK.to(torch.float32))
        self.register_buffer("weights_J", weights_J.to(torch.float32))

    def users_of(self, items_N: Tensor, ratings_N: Tensor, offsets: Tensor) -> Users:
        """What the network makes of the histories, and their facts; offsets: int64 [B + 1]."""
        rows_N, users = rows_of(offsets, items_N), offsets.shape[0] - 1
        left_N = ratings_N - self.levels_I.index_select(0, items_N)
        count_B = sum_by_row(torch.ones_like(ratings_N), rows_N, users)
        sum_B, squares_B = (sum_by_row(left_N**power, rows_N, users) for power in (1, 2))
        bias_B = sum_B / (count_B + BIAS_RIDGE)
        squares_B = squares_B - 2 * bias_B * sum_B + count_B * bias_B.square()
        facts_BK = facts(count_B, squares_B, self.variance)
        return Users(self.network.users_of(items_N, ratings_N, offsets), facts_BK)

    def preference(self, users: Users) -> Tensor:
        """That of the network, [B, D]."""
        return self.network.preference(users.inner)

    def preference_table(self) -> PreferenceTable:
        """That of the network."""
        return self.network.preference_table()

    def item_vectors(self) -> Tensor:
        """Those of the network, [I, D]."""
        return self.network.item_vectors()

    def rate(self, users: Users, rows_T: Tensor, items_T: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted ratings, those of the network, and their spreads, each [T]."""
        rating_T, terms_TJ = self.terms(users, rows_T, items_T)
        return rating_T, torch.exp((terms_TJ @ self.weights_J).clamp(*LOG_SPREAD_RANGE))

    def terms(self, users: Users, rows_T: Tensor, items_T: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted ratings [T], and what the weights are of: [T, J]."""
        rating_T, spread_T = self.network.rate(users.inner, rows_T, items_T)
        own_TJ = torch.stack([torch.ones_like(spread_T), torch.log(spread_T)], dim=1)
        terms_TJ = torch.cat(
            [
                own_TJ,
                users.facts_BK.index_select(0, rows_T),
                self.facts_IK.index_select(0, items_T),
            ],
            dim=1,
        )
        return rating_T, terms_TJ


def facts(count_R: Tensor, squares_R: Tensor, variance: float) -> Tensor:
    """Log variance, log(n + 1) and (n + 1)^-1/2 of R users or items: [R, K].

    squares_R: the sum of squares that biases leave of their `count_R` ratings.
    """
    variance_R = (squares_R + VARIANCE_RIDGE * variance) / (count_R + VARIANCE_RIDGE)
    return torch.stack([variance_R.log(), torch.log(count_R + 1), torch.rsqrt(count_R + 1)], dim=1)
