"""The baselines that every report shows beside the model, fitted on the rows it is refitted on."""

from __future__ import annotations

import numpy as np

from training.baselines.bias import fit_bias
from training.baselines.ease import MAX_ITEMS, fit_ease
from training.baselines.mean import fit_mean
from training.baselines.pairwise import PairwiseVAE
from training.baselines.pairwise_training import fit_pairwise, refit_pairwise
from training.baselines.popularity import fit_popularity
from training.evaluation.predictor import Predictor
from training.ratings import Ratings
from training.split import Split


def fit_reported(
    ratings: Ratings, split: Split, *, liked_from: float, seed: int, pairwise: bool
) -> list[Predictor]:
    """Mean, bias and popularity always; EASE where its matrix fits; the pairwise VAE if asked."""
    rows = split.refit
    baselines: list[Predictor] = [
        fit_mean(ratings, rows),
        fit_bias(ratings, rows),
        fit_popularity(ratings, rows, liked_from=liked_from),
    ]
    if len(ratings.catalog) <= MAX_ITEMS:
        baselines.append(fit_ease(ratings, rows, liked_from=liked_from))
    if pairwise:
        baselines.append(_fit_pairwise(ratings, split, seed))
    return baselines


def _fit_pairwise(ratings: Ratings, split: Split, seed: int) -> PairwiseVAE:
    chosen = fit_pairwise(ratings, split.fit, validation=split.validation.hidden, seed=seed)
    if np.array_equal(split.fit, split.refit):
        return chosen
    return refit_pairwise(chosen, ratings, split.refit, seed=seed)
