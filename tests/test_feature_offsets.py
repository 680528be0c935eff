"""Item side information: the features, and what items without ratings gain from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from models.catalog import Catalog
from models.networks.architecture import Architecture
from models.networks.feature_offsets import FeatureOffset
from models.networks.item_features import item_features
from tests.small_ratings import blank_catalog, random_ratings
from training.config import Configuration, Optimisation
from training.evaluation.network_predictor import NetworkPredictor
from training.fitting.initial import build_network
from training.fitting.trainer import Fitted, refit
from training.ratings import Ratings


def test_features_are_genres_and_decades() -> None:
    names = ["a", "b", "c", "d"]
    genres = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], np.bool_)
    years = np.array([1994, 1999, 0, 2001], np.int16)
    features = item_features(Catalog(names, names, years, ["Drama", "War"], genres))
    expected = [[1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 1]]
    np.testing.assert_array_equal(features, np.array(expected, np.float32))
    assert item_features(blank_catalog(3)).shape == (3, 0)


def test_a_table_is_its_free_part_plus_a_linear_map() -> None:
    rng = np.random.default_rng(0)
    features, free = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    offset = FeatureOffset(torch.from_numpy(features).float(), torch.from_numpy(free).float())
    nn.init.normal_(offset.weight)
    weight = offset.weight.detach().numpy()
    found = offset(torch.from_numpy(free).float()).detach().numpy()
    for item in range(5):
        expected = free[item] + sum(features[item, a] * weight[a] for a in range(3))
        np.testing.assert_allclose(found[item], expected, atol=1e-5)


def test_items_nobody_rated_are_placed_by_their_genre() -> None:
    """Every user likes one of two genres; the last ten items have no rating to fit."""
    ratings = genre_ratings()
    cold = ratings.items >= 50
    rows, unseen = np.flatnonzero(~cold), np.flatnonzero(cold)

    def rmse_of_unseen(**network: bool) -> float:
        configuration = configuration_of(**network)
        start = Fitted(build_network(ratings, rows, configuration), 15, [], [], False)
        fitted = refit(ratings, rows, start, configuration, lambda text: None, progress=False)
        predictor = NetworkPredictor("vae", fitted.network, (1, 5))
        rated = predictor.rate(
            ratings.histories(rows), ratings.users[unseen].astype(np.int64),
            ratings.items[unseen].astype(np.int64),
        )  # fmt: skip
        return float(np.sqrt(np.mean((rated - ratings.values[unseen]) ** 2)))

    untold, told = rmse_of_unseen(item_features=False), rmse_of_unseen(item_features=True)
    assert untold > 0.9  # the genre is worth a star up or down
    assert told < 0.6


def configuration_of(**network: bool) -> Configuration:
    shape = Architecture(n_factors=4, hidden_dims=(16,), latent_dim=4, dropout=0.0)
    training = {"batch_users": 10, "max_epochs": 15, "learning_rate": {"initial": 0.01}}
    return Configuration(
        name="test",
        network=shape.model_copy(update=network),
        training=Optimisation.model_validate(training),
    )


def genre_ratings() -> Ratings:
    ratings, rng = random_ratings(120, 61, 0.3, 0), np.random.default_rng(1)
    genres = np.arange(61)[:, None] % 2 == np.arange(2)
    catalog = replace(blank_catalog(61), genre_names=["Even", "Odd"], genres=genres)
    taste, noise = rng.choice([-1, 1], 120), rng.normal(0, 0.3, len(ratings))
    values = 3 + taste[ratings.users] * np.where(genres[ratings.items, 0], 1, -1) + noise
    return replace(ratings, catalog=catalog, values=values.astype(np.float32))
