"""What a model has to beat: simple, well-known recommenders, fitted on the same rows.

Each module has one fit function, which reads nothing but the rows it is given, and one predictor,
which answers from a history; evaluation, not a baseline, decides what is excluded.
"""

from __future__ import annotations

from training.baselines.bias import BiasBaseline, fit_bias
from training.baselines.ease import EASE, fit_ease
from training.baselines.low_rank_ease import fit_low_rank_ease
from training.baselines.mean import MeanBaseline, fit_mean
from training.baselines.pairwise import PairwiseVAE
from training.baselines.pairwise_settings import PROVEN, SCALED, PairwiseSettings
from training.baselines.pairwise_training import fit_pairwise, refit_pairwise
from training.baselines.popularity import PopularityBaseline, fit_popularity

__all__ = [
    "EASE",
    "PROVEN",
    "SCALED",
    "BiasBaseline",
    "MeanBaseline",
    "PairwiseSettings",
    "PairwiseVAE",
    "PopularityBaseline",
    "fit_bias",
    "fit_ease",
    "fit_low_rank_ease",
    "fit_mean",
    "fit_pairwise",
    "fit_popularity",
    "refit_pairwise",
]
