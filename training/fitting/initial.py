"""An untrained network for rows of ratings: what counting tells, before the first step.

Adam's small steps would take longer to get to the bias model and to popularity than a small data
set has batches, so the item side starts there.
"""

from __future__ import annotations

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.networks.hybrid_vae import HybridVAE
from models.networks.item_features import item_features
from training.baselines import fit_bias, fit_low_rank_ease
from training.config import Configuration
from training.errors import ConfigurationError
from training.fitting.parametrizations import parametrize
from training.fitting.time_effects import ratings_as_of
from training.ratings import Ratings
from training.teachers.teacher import Teacher

MOST_LEVELS = 20


def build_network(
    ratings: Ratings,
    rows: NDArray[np.int64],
    configuration: Configuration,
    teacher: Teacher | None = None,
) -> HybridVAE:
    """An untrained network for these rows, seeded by the configuration; `collapsed` to be served.

    With a teacher of ratings, rating factors start from those of its items. Raises
    ConfigurationError if an option needs what the ratings do not have.
    """
    pl.seed_everything(configuration.seed, verbose=False)
    levels = ratings.scale.levels
    if len(levels) > MOST_LEVELS:  # a near-continuous scale: eleven knots tell it well enough
        levels = np.linspace(levels[0], levels[-1], 11, dtype=np.float32)
    bias = fit_bias(ratings_as_of(ratings, rows, configuration.training.time_effects), rows)
    items = len(ratings.catalog)
    features_IA = _features(ratings, configuration)
    network = HybridVAE(
        configuration.network, items, torch.from_numpy(levels), bias.mean, features_IA
    )
    liked = ratings.values[rows] >= configuration.evaluation.liked_from
    likes = np.bincount(ratings.items[rows][liked], minlength=items)
    log_popularity = np.log((likes + 1) / (likes.sum() + items))
    network.start_items(_float32(bias.item_biases), _float32(log_popularity))
    if teacher is not None:
        factors = teacher.starting_factors(configuration.network.n_factors, configuration.seed)
        network.start_rating_factors(torch.from_numpy(factors))
    levels_N = network.level_of(torch.from_numpy(ratings.values[rows]))
    network.likelihood.start(torch.bincount(levels_N, minlength=len(levels)))
    _start_shallow(network, ratings, rows, configuration)
    parametrize(network, features_IA, ratings, rows, bias, configuration)
    return network


def _features(ratings: Ratings, configuration: Configuration) -> Tensor:
    """What is known of the items, float32 [I, A]."""
    features_IA = item_features(ratings.catalog)
    for option in ("upper_latent_dim", "item_features"):
        if getattr(configuration.network, option) and not features_IA.shape[1]:
            raise ConfigurationError(
                f"network.{option} needs genres or years, and the catalogue has neither: leave it "
                "off, or name an item table."
            )
    return torch.from_numpy(features_IA)


def _start_shallow(
    network: HybridVAE, ratings: Ratings, rows: NDArray[np.int64], configuration: Configuration
) -> None:
    """Count the shallow path, if there is one."""
    settings, liked_from = configuration.network.shallow, configuration.evaluation.liked_from
    if settings is None or network.shallow is None:
        return
    ease = fit_low_rank_ease(
        ratings, rows, liked_from=liked_from, lambda_=settings.lambda_, rank=settings.rank
    )
    liked_L = (network.levels_L >= liked_from).float()
    network.shallow.start(
        torch.from_numpy(ease.votes_in), torch.from_numpy(ease.votes_out), liked_L
    )


def _float32(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
