"""Weights of members against optimisers of other kinds, and what a member adds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

from models.histories import Histories
from models.manifest import RatingScale
from models.networks.graphs import Rater
from models.networks.selectors import PreferenceTable
from tests.small_ratings import histories_of
from training.ensembles.blending import RIDGE, fit_preference_weights
from training.ensembles.weighing import weigh
from training.evaluation.metrics import liked

USERS, ITEMS = 40, 25
SCALE = RatingScale(minimum=1.0, maximum=5.0, step=1.0)


class Memory:
    """Answers from tables, by the one item that each history begins with: the user's number."""

    def __init__(self, ratings_UI: np.ndarray) -> None:
        self.ratings_UI = torch.from_numpy(ratings_UI.astype(np.float32))

    def users_of(self, items_N: Tensor, ratings_N: Tensor, offsets: Tensor) -> Tensor:
        return items_N[offsets[:-1]]

    def rate(self, users: Tensor, rows_T: Tensor, items_T: Tensor) -> tuple[Tensor, Tensor]:
        rated_T = self.ratings_UI[users[rows_T], items_T]
        return rated_T, torch.ones_like(rated_T)


class RankingMemory(Memory):
    def __init__(self, ratings_UI: np.ndarray, scores_UI: np.ndarray) -> None:
        super().__init__(ratings_UI)
        self.scores_UI = torch.from_numpy(scores_UI.astype(np.float32))

    def preference(self, users: Tensor) -> Tensor:
        return self.scores_UI[users]

    def preference_table(self) -> PreferenceTable:
        items = self.scores_UI.shape[1]
        return PreferenceTable(torch.eye(items), torch.zeros(items))

    def item_vectors(self) -> Tensor:
        return self.scores_UI.T


def scene() -> tuple[list[Rater], Histories, Histories, np.ndarray, np.ndarray]:
    """Members that see a truth through noise of their own; the middle one only rates."""
    rng = np.random.default_rng(0)
    truth = rng.normal(3.5, 1.0, (USERS, ITEMS))
    ratings = np.stack([truth + rng.normal(0, s, truth.shape) for s in (0.6, 0.5, 1.5)])
    scores = np.stack([truth + rng.normal(0, s, truth.shape) for s in (0.5, 1.5)])
    members: list[Rater] = [
        RankingMemory(ratings[0], scores[0]), Memory(ratings[1]),
        RankingMemory(ratings[2], scores[1]),
    ]  # fmt: skip
    visible = histories_of(*({user % ITEMS: 3.0} for user in range(USERS)))
    # Items are told apart by user number, so there are as many users as items.
    hidden = histories_of(
        *(
            {
                int(item): float(np.clip(np.rint(truth[user % ITEMS, item]), 1, 5))
                for item in rng.choice(ITEMS, 8, replace=False)
                if item != user % ITEMS
            }
            for user in range(USERS)
        )
    )
    return members, visible, hidden, ratings, scores


def test_rating_weights_are_those_of_a_bounded_least_squares_fit() -> None:
    members, visible, hidden, ratings, _ = scene()
    found = weigh(members, visible, hidden, SCALE, 4.0)
    rated = ratings[:, hidden.rows % ITEMS, hidden.items]
    centre = hidden.ratings.mean(dtype=np.float64)
    deviations, actual = rated - centre, hidden.ratings - centre
    ridge = RIDGE * rated.shape[1] * deviations.var()

    def loss(weights: np.ndarray) -> float:
        fit = np.sum((actual - weights @ deviations) ** 2)
        return float(fit + ridge * np.sum((weights - 1 / 3) ** 2))

    best = minimize(loss, np.full(3, 1 / 3), bounds=[(0, None)] * 3, method="SLSQP")
    np.testing.assert_allclose(found.shares.rating, best.x, atol=1e-3)
    assert found.shares.centre == pytest.approx(centre)


def test_preference_weights_make_the_targets_likeliest() -> None:
    members, visible, hidden, _, scores = scene()
    found = weigh(members, visible, hidden, SCALE, 4.0).shares.preference
    targets = liked(hidden, 4.0)

    def loss(weights: np.ndarray) -> float:
        total = 0.0
        for user in range(USERS):
            blend = np.tensordot(weights, scores[:, user % ITEMS], 1)
            unseen = np.arange(ITEMS) != user % ITEMS
            log_share = np.full(ITEMS, -np.inf)
            log_share[unseen] = log_softmax(blend[unseen])
            total -= log_share[targets.of(user)[0]].sum()
        return total

    best = minimize(loss, np.ones(2), bounds=[(0, None)] * 2, method="SLSQP")
    np.testing.assert_allclose([found[0], found[2]], best.x, rtol=0.02)
    assert found[1] == 0


def test_a_worthless_ranker_gets_no_weight() -> None:
    rng = np.random.default_rng(1)
    good = rng.normal(size=(1, USERS, ITEMS)).astype(np.float32)
    best = good[0].argmax(1)
    targets = histories_of(*({int(item): 5.0} for item in best))
    weights = fit_preference_weights(np.concatenate([good, -good]), targets)
    assert weights[0] > 0
    assert weights[1] == 0


def test_without_targets_or_company_weights_are_equal() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    nobody = Histories.empty(3)
    assert fit_preference_weights(scores, nobody).tolist() == [0.5, 0.5]
    alone = fit_preference_weights(scores[:1], histories_of({1: 5.0}, {}, {}))
    assert alone.tolist() == [1.0]


def test_what_a_member_adds_is_what_is_lost_without_it() -> None:
    members, visible, hidden, ratings, _ = scene()
    added = weigh(members, visible, hidden, SCALE, 4.0).added
    for number, one in enumerate(added):
        rated = np.clip(ratings[number, hidden.rows % ITEMS, hidden.items], 1, 5)
        assert one.rmse == pytest.approx(np.sqrt(np.mean((rated - hidden.ratings) ** 2)), rel=1e-5)
    assert added[1].ndcg is None  # it does not rank,
    assert added[1].ndcg_without == 0  # so nothing is lost
    first, second, third = (one.rmse_without or 0 for one in added)
    assert min(first, second) > third > -1e-3
    without_first = weigh(members[1:], visible, hidden, SCALE, 4.0)
    whole = weigh(members, visible, hidden, SCALE, 4.0)
    assert (added[0].ndcg_without or 0) > 0
    assert without_first.added[1].ndcg == added[2].ndcg
    assert whole.added == added


def test_members_that_cannot_rank_make_no_ensemble() -> None:
    members, visible, hidden, _, _ = scene()
    with pytest.raises(ValueError, match="ranks"):
        weigh(members[1:2], visible, hidden, SCALE, 4.0)
