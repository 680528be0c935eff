"""Weighs members of an ensemble on validation rows, and says what each of them adds.

What a member adds is what is lost without it: weights are fitted anew to the others and the figure
is compared with that of all. Ratings of all members are kept, one number a row; scores of all items
are held for a sample of users that fits in CELLS, and for the figures made batch by batch.

Shapes: M members, R members that rank, T hidden rows, B users, I items, K ways of weighting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories
from models.manifest import RatingScale
from models.networks.ensemble import Shares
from models.networks.graphs import FoldInNetwork, Rater
from training.ensembles.blending import fit_blend, fit_preference_weights
from training.evaluation import metrics
from training.evaluation.metrics import Floats
from training.evaluation.network_predictor import NetworkPredictor, RaterPredictor

CELLS = 8_000_000
USERS_PER_BATCH = 256
DEPTH = 100
UNCLIPPED = (-np.inf, np.inf)


@dataclass(frozen=True)
class Added:
    """Figures of one member alone, and what is lost without it; None where it has no answer.

    rmse_without: the rise of RMSE. ndcg_without: the fall of NDCG@100.
    """

    rmse: float
    ndcg: float | None
    rmse_without: float | None
    ndcg_without: float | None


@dataclass(frozen=True)
class Weighed:
    """The weights of M members, and what each adds."""

    shares: Shares
    added: list[Added]


def weigh(
    members: Sequence[Rater],
    visible: Histories,
    hidden: Histories,
    scale: RatingScale,
    liked_from: float,
) -> Weighed:
    """Fit both heads' weights; visible and hidden: the same users' ratings, row by row.

    Every member is asked through the code that is served. Ratings are weighted before they are
    clipped to the scale, as the ensemble does it. One member at least must rank.
    """
    rated = _Rated(members, visible, hidden, scale)
    ranked = _Ranked(members, visible, metrics.liked(hidden, liked_from))
    everybody = tuple(range(len(members)))
    centre, rating = rated.weights(everybody)
    preference = ranked.weights(everybody)
    whole = rated.rmse(centre, rating)
    others = [tuple(m for m in everybody if m != one) for one in everybody]
    without = [None if not rest else rated.rmse(*rated.weights(rest)) - whole for rest in others]
    alone = np.eye(len(members))
    ndcgs = ranked.ndcg([preference, *alone, *(ranked.weights(rest) for rest in others)])
    of_one, of_rest = ndcgs[1 : 1 + len(members)], ndcgs[1 + len(members) :]
    return Weighed(
        Shares(centre, tuple(rating.tolist()), tuple(preference.tolist())),
        [
            Added(rated.rmse(centre, alone[m]), of_one[m], without[m], _less(ndcgs[0], of_rest[m]))
            for m in everybody
        ],
    )


def _less(whole: float | None, rest: float | None) -> float | None:
    return None if whole is None or rest is None else whole - rest


class _Rated:
    """The members' ratings of the hidden rows, float32 [M, T]."""

    def __init__(
        self, members: Sequence[Rater], visible: Histories, hidden: Histories, scale: RatingScale
    ) -> None:
        self.actual_T, self.scale = hidden.ratings, scale
        self.ratings_MT = np.stack(
            [
                RaterPredictor("member", member, UNCLIPPED).rate(visible, hidden.rows, hidden.items)
                for member in members
            ]
        )

    def weights(self, members: tuple[int, ...]) -> tuple[float, Floats]:
        """The centre and float64 [M]: weights of some members, the others' 0."""
        blend = fit_blend(self.ratings_MT[list(members)], self.actual_T)
        weights_M = np.zeros(len(self.ratings_MT))
        weights_M[list(members)] = blend.weights
        return blend.centre, weights_M

    def rmse(self, centre: float, weights_M: Floats) -> float:
        """Of the weighted ratings, clipped to the scale."""
        rated_T = centre + weights_M @ (self.ratings_MT.astype(np.float64) - centre)
        clipped_T = np.clip(rated_T, self.scale.minimum, self.scale.maximum)
        return metrics.rmse(self.actual_T, clipped_T)


class _Ranked:
    """The members' scores for users with a target, those who cannot rank left out."""

    def __init__(self, members: Sequence[Rater], visible: Histories, targets: Histories) -> None:
        users = np.flatnonzero(targets.lengths)
        self.visible, self.targets = visible.take(users), targets.take(users)
        self.count = len(members)
        self.rankers = {
            number: NetworkPredictor("member", member, UNCLIPPED)
            for number, member in enumerate(members)
            if isinstance(member, FoldInNetwork)
        }
        if not self.rankers:
            raise ValueError("No member of the ensemble ranks.")
        self.sample = self._sample()
        self.sample_RBI = self._scores(self.sample)

    def _sample(self) -> NDArray[np.int64]:
        """As many users as CELLS allows, evenly drawn."""
        everybody = np.arange(len(self.targets))
        if not len(everybody):
            return everybody
        first = next(iter(self.rankers.values()))
        items = first.score(self.visible.take([0])).shape[1]
        return everybody[:: -(-len(everybody) * items // CELLS)]

    def _scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [R, B, I], -inf for what they have rated."""
        visible = self.visible.take(users)
        scores_RBI = np.stack([ranker.score(visible) for ranker in self.rankers.values()])
        scores_RBI[:, visible.rows, visible.items] = -np.inf
        return scores_RBI

    def weights(self, members: tuple[int, ...]) -> Floats:
        """float64 [M]: weights of those of the members that rank, the others' 0."""
        numbers = list(self.rankers)
        places = [place for place, number in enumerate(numbers) if number in members]
        weights_M = np.zeros(self.count)
        if places:
            fitted = fit_preference_weights(self.sample_RBI[places], self.targets.take(self.sample))
            weights_M[[numbers[place] for place in places]] = fitted
        return weights_M

    def ndcg(self, ways: Sequence[Floats]) -> list[float | None]:
        """Mean NDCG@100 of each way of weighting; None for one without any weight, or targets."""
        weights_KR = np.stack(ways)[:, list(self.rankers)]
        sums_K, users = np.zeros(len(ways)), len(self.targets)
        for start in range(0, users, USERS_PER_BATCH):
            batch = np.arange(start, min(start + USERS_PER_BATCH, users))
            scores_RBI, targets = self._scores(batch), self.targets.take(batch)
            for way, weights_R in enumerate(weights_KR):
                if weights_R.any():
                    sums_K[way] += _ndcg(weights_R, scores_RBI, targets)
        return [
            float(total / users) if users and weights_R.any() else None
            for total, weights_R in zip(sums_K, weights_KR, strict=True)
        ]


def _ndcg(weights_R: Floats, scores_RBI: NDArray[np.float32], targets: Histories) -> float:
    """The sum over users."""
    used = np.flatnonzero(weights_R)  # 0 times -inf would be no number
    blend_BI = np.tensordot(weights_R[used], scores_RBI[used], 1)
    hits_BK = metrics.hits(metrics.top_items(blend_BI, DEPTH), targets)
    return float(metrics.ndcg(hits_BK, targets.lengths, DEPTH).sum())
