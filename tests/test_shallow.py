"""The shallow path: EASE in factors, as a start of the preference head, and exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.histories import Histories
from models.networks.architecture import Architecture, Shallow
from models.networks.hybrid_vae import HybridVAE
from models.networks.shallow import SHARPNESS
from tests.small_ratings import histories_of, random_ratings, ratings_of
from training.baselines import fit_ease, fit_low_rank_ease
from training.config import Configuration, Optimisation
from training.errors import ConfigurationError
from training.evaluation.evaluate import evaluate
from training.evaluation.network_predictor import NetworkPredictor
from training.export import export_graphs
from training.fitting.initial import build_network
from training.fitting.sharpness import CANDIDATES
from training.fitting.trainer import choose, refit
from training.ratings import Ratings
from training.split import split_ratings

USERS, ITEMS, LIKED_FROM, LAMBDA = 60, 25, 4.0, 10.0


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(USERS, ITEMS, 0.4, seed=0)


def rows_of(ratings: Ratings) -> np.ndarray:
    return np.arange(len(ratings.values))


def configured(shallow: Shallow | None) -> Configuration:
    return Configuration(
        name="shallow",
        network=Architecture(n_factors=4, hidden_dims=(8,), latent_dim=3, shallow=shallow),
        training=Optimisation(max_epochs=2, batch_users=16, preference_weight=1.0),
    )


def network(ratings: Ratings, rank: int) -> HybridVAE:
    configuration = configured(Shallow(rank=rank, lambda_=LAMBDA))
    return build_network(ratings, rows_of(ratings), configuration).eval()


def test_at_full_rank_its_weights_are_those_of_ease(ratings: Ratings) -> None:
    settings = {"liked_from": LIKED_FROM, "lambda_": LAMBDA}
    exact = fit_ease(ratings, rows_of(ratings), **settings).weights
    factored = fit_low_rank_ease(ratings, rows_of(ratings), rank=40, **settings)
    assert factored.votes_in.shape == factored.votes_out.shape == (ITEMS, 40)
    weights = factored.votes_in @ factored.votes_out.T
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(weights, exact, atol=1e-5)


def test_a_lower_rank_keeps_the_strongest_directions(ratings: Ratings) -> None:
    liked = np.zeros((USERS, ITEMS))
    likes = ratings.values >= LIKED_FROM
    liked[ratings.users[likes], ratings.items[likes]] = 1.0
    vectors = np.linalg.svd(liked)[2][:3]
    low = fit_low_rank_ease(
        ratings, rows_of(ratings), liked_from=LIKED_FROM, lambda_=LAMBDA, rank=3
    )
    outside = low.votes_in - vectors.T @ (vectors @ low.votes_in)
    np.testing.assert_allclose(outside, 0, atol=1e-5)
    assert np.linalg.matrix_rank(low.votes_in) == 3


def test_scores_are_the_deep_logits_and_sharpened_ease(ratings: Ratings) -> None:
    net = network(ratings, rank=40)
    histories = histories_of({0: 5.0, 3: 4.0, 7: 2.0}, {1: 1.0}, {4: 4.0, 9: 5.0})
    found = NetworkPredictor("network", net, (1, 5)).score(histories)
    ease = fit_ease(ratings, rows_of(ratings), liked_from=LIKED_FROM, lambda_=LAMBDA)
    columns = map(torch.from_numpy, (histories.items, histories.ratings, histories.offsets))
    with torch.no_grad():
        deep = net.deep_logits(net.users_of(*columns)).numpy()
    expected = deep + SHARPNESS * ease.score(histories)
    for row, liked in ((0, [0, 3]), (1, []), (2, [4, 9])):  # a vote for itself means nothing
        others = np.setdiff1d(np.arange(ITEMS), liked)
        np.testing.assert_allclose(found[row, others], expected[row, others], atol=1e-4)


def test_the_deep_path_is_fitted_by_itself(ratings: Ratings, tmp_path: Path) -> None:
    def deep_factors(shallow: Shallow | None) -> torch.Tensor:
        split = split_ratings(ratings, "random", 42)
        configuration = configured(shallow)
        fitted = choose(
            ratings, split.fit, split.validation, configuration, tmp_path, print, progress=False
        )
        return fitted.network.preference_factors

    alone, beside = deep_factors(None), deep_factors(Shallow(rank=6, lambda_=LAMBDA))
    torch.testing.assert_close(alone, beside)


def test_the_sharpness_is_the_one_that_ranks_best_and_a_refit_keeps_it(
    ratings: Ratings, tmp_path: Path
) -> None:
    split = split_ratings(ratings, "random", 42)
    configuration = configured(Shallow(rank=6, lambda_=LAMBDA))
    chosen = choose(
        ratings, split.fit, split.validation, configuration, tmp_path, print, progress=False
    )
    net = chosen.network
    assert net.shallow is not None
    found = float(net.shallow.sharpness)
    ndcg = {}
    for candidate in CANDIDATES:
        net.shallow.sharpness.fill_(candidate)
        predictor = NetworkPredictor("n", net, (1, 5))
        scores = evaluate(predictor, ratings, split.validation, liked_from=LIKED_FROM, seed=0)
        ndcg[candidate] = scores.metrics["ndcg@100"]
    assert ndcg[found] == max(ndcg.values()) > min(ndcg.values())
    net.shallow.sharpness.fill_(17.0)
    again = refit(ratings, split.refit, chosen, configuration, print, progress=False)
    assert again.network.shallow is not None
    assert float(again.network.shallow.sharpness) == 17.0


def test_the_exported_graphs_agree(ratings: Ratings, tmp_path: Path) -> None:
    histories = ratings.histories(rows_of(ratings))
    graphs = export_graphs(network(ratings, rank=6), ITEMS, ratings.scale, histories, tmp_path)
    assert graphs.parity.identical_top_k == 1.0


def test_likes_of_no_one_leave_the_path_silent() -> None:
    disliked = ratings_of([0, 0, 1], [0, 1, 1], [1, 2, 1], user_count=2, item_count=3)
    factored = fit_low_rank_ease(disliked, rows_of(disliked), liked_from=4, lambda_=1.0, rank=2)
    assert not factored.votes_in.any()
    assert not factored.votes_out.any()
    scores = NetworkPredictor("n", network(disliked, rank=2), (1, 5)).score(Histories.empty(1))
    assert np.isfinite(scores).all()


def test_a_penalty_of_zero_is_refused(ratings: Ratings) -> None:
    with pytest.raises(ConfigurationError, match="lambda above 0"):
        fit_low_rank_ease(ratings, rows_of(ratings), liked_from=4, lambda_=0.0, rank=2)
