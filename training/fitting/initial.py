"""An untrained network for rows of ratings: what counting tells, before the first step.

Adam's small steps would take longer to get to the bias model and to popularity than a small data
set has batches, so the item side starts there. Of several processes each counts its own users'
rows, and the counts are added up; what cannot be added up is a `HeadStart`, made once.
"""

from __future__ import annotations

from dataclasses import dataclass

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.networks.hybrid_vae import HybridVAE
from models.networks.item_features import item_features
from training.baselines import fit_bias, fit_low_rank_ease
from training.baselines.low_rank_ease import LowRankEASE
from training.config import Configuration
from training.errors import ConfigurationError
from training.fitting.parametrizations import parametrize
from training.fitting.time_effects import ratings_as_of
from training.ratings import Ratings
from training.teachers.teacher import Teacher
from training.world import ALONE, World

MOST_LEVELS = 20


@dataclass(frozen=True)
class HeadStart:
    """What an untrained network takes from models of all users at once.

    rating_factors: float32 [I, at most F], a teacher's. votes: the shallow path's tables. Either
    is None where it is not wanted.
    """

    rating_factors: NDArray[np.float32] | None
    votes: LowRankEASE | None

    @staticmethod
    def of(
        ratings: Ratings,
        rows: NDArray[np.int64],
        configuration: Configuration,
        teacher: Teacher | None,
    ) -> HeadStart:
        """Ask the teacher, if there is one, and count the shallow path."""
        network, factors, votes = configuration.network, None, None
        if teacher is not None:
            factors = teacher.starting_factors(network.n_factors, configuration.seed)
        if network.shallow is not None:
            votes = fit_low_rank_ease(
                ratings, rows, liked_from=configuration.evaluation.liked_from,
                lambda_=network.shallow.lambda_, rank=network.shallow.rank,
            )  # fmt: skip
        return HeadStart(factors, votes)


def build_network(
    ratings: Ratings,
    rows: NDArray[np.int64],
    configuration: Configuration,
    teacher: Teacher | None = None,
    *,
    world: World = ALONE,
    ahead: HeadStart | None = None,
) -> HybridVAE:
    """An untrained network for these rows, seeded by the configuration; `collapsed` to be served.

    With a teacher of ratings, rating factors start from those of its items. ahead: given to one of
    several processes, whose rows are those of its own users. Raises ConfigurationError if an option
    needs what the ratings do not have.
    """
    pl.seed_everything(configuration.seed, verbose=False)
    told = ratings_as_of(ratings, rows, configuration.training.time_effects)
    bias = fit_bias(told, rows, world=world)
    features_IA = _features(ratings, configuration)
    network = _shaped(ratings, configuration, bias.mean, features_IA)
    items, levels = len(ratings.catalog), len(network.levels_L)
    liked = ratings.values[rows] >= configuration.evaluation.liked_from
    likes = world.sum(np.bincount(ratings.items[rows][liked], minlength=items))
    log_popularity = np.log((likes + 1) / (likes.sum() + items))
    network.start_items(_float32(bias.item_biases), _float32(log_popularity))
    levels_N = network.level_of(torch.from_numpy(ratings.values[rows])).numpy()
    counts_L = world.sum(np.bincount(levels_N, minlength=levels))
    network.likelihood.start(torch.from_numpy(counts_L))
    _start_ahead(
        network, ahead or HeadStart.of(ratings, rows, configuration, teacher), configuration
    )
    parametrize(network, features_IA, ratings, rows, bias, configuration)
    return network


def blank_network(ratings: Ratings, configuration: Configuration) -> HybridVAE:
    """A network of the shape that is served, for weights that exist; nothing is counted."""
    return _shaped(ratings, configuration, 0.0, _features(ratings, configuration))


def _shaped(
    ratings: Ratings, configuration: Configuration, mean: float, features_IA: Tensor
) -> HybridVAE:
    levels = ratings.scale.levels
    if len(levels) > MOST_LEVELS:  # a near-continuous scale: eleven knots tell it well enough
        levels = np.linspace(levels[0], levels[-1], 11, dtype=np.float32)
    return HybridVAE(
        configuration.network, len(ratings.catalog), torch.from_numpy(levels), mean, features_IA
    )


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


def _start_ahead(network: HybridVAE, ahead: HeadStart, configuration: Configuration) -> None:
    """Set what models of all users tell, where they are wanted."""
    if ahead.rating_factors is not None:
        network.start_rating_factors(torch.from_numpy(ahead.rating_factors))
    if network.shallow is not None and ahead.votes is not None:
        votes, liked_from = ahead.votes, configuration.evaluation.liked_from
        network.shallow.start(
            torch.from_numpy(votes.votes_in),
            torch.from_numpy(votes.votes_out),
            (network.levels_L >= liked_from).float(),
        )


def _float32(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
