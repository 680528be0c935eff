"""Fits how the spread depends on user and item, on validation rows, so intervals suit everybody.

A variance regression on squared residuals in two steps. First the log variance given the network's
own spread and the variances of user and item. Intervals whose widths follow the spread all the way
cover everyone alike but are wider on average: for Gaussian errors the narrowest intervals of
marginal coverage c reach z s where phi(z) / s is the same for all, so d log reach / d log s = 1 -
1 / z^2, which is 0.39 at 80% (level sets: Lei, Robins and Wasserman 2013, "Distribution-free
prediction sets"). The first step is shrunk by that factor. Then, in full, what is left to say by
the length of the history and the item's popularity, so each such group keeps its coverage.

Multipliers are quantiles of residuals normalised by spreads from regressions on other rows
(cross-conformal prediction, Vovk 2015); the served weights come from all validation rows.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.networks.conditional_spread import BIAS_RIDGE, ConditionalSpread, ItemFacts, facts
from models.networks.graphs import FoldInNetwork
from models.networks.likelihoods import LOG_SPREAD_RANGE
from training.baselines import fit_bias
from training.evaluation.network_predictor import NetworkPredictor
from training.ratings import Ratings
from training.split import Fold, Rows

Floats = NDArray[np.float64]

PARTS = 5
FEWEST_ROWS = 100  # validation rows below which the network's own spread is kept
PENALTY = 20.0  # rows that say a term does not matter
OWN = np.array([0.0, 1, 0, 0, 0, 0, 0, 0])  # weights that leave the spread as it is
INDIVIDUAL = np.array([1, 2, 5])  # of terms: own spread, variance of the user, of the item
GROUP = np.array([3, 4, 6, 7])  # length of the history, popularity


def regress_spread(
    network: FoldInNetwork, ratings: Ratings, rows: Rows, fold: Fold, coverage: float
) -> tuple[Floats, Floats]:
    """Weights [J] for `with_spread`, and spreads [T] of the fold's hidden rows, by user, then item.

    The network was fitted on `rows`. Each spread comes from a regression on other rows.
    """
    visible, hidden = ratings.histories(fold.visible), ratings.histories(fold.hidden)
    around = with_spread(network, ratings, rows, OWN)
    scale = (ratings.scale.minimum, ratings.scale.maximum)
    predictor = NetworkPredictor("regressed", around, scale)
    rated, found = predictor.answer(visible, hidden.rows, hidden.items, around.terms)
    squares = np.square(rated.clip(*scale).astype(np.float64) - hidden.ratings)
    terms = found.astype(np.float64)
    if len(squares) < FEWEST_ROWS:
        return OWN, _spread(terms, OWN)
    return _weights(terms, squares, coverage), _spread_of_others(terms, squares, coverage)


def with_spread(
    network: FoldInNetwork, ratings: Ratings, rows: Rows, weights: Floats
) -> ConditionalSpread:
    """The network, fitted on `rows`, with spreads by these weights [J]."""
    return ConditionalSpread(network, item_facts(ratings, rows), torch.from_numpy(weights)).eval()


def item_facts(ratings: Ratings, rows: Rows) -> ItemFacts:
    """Count on `rows` what ConditionalSpread needs of the items."""
    bias = fit_bias(ratings, rows)
    users, items = ratings.users[rows], ratings.items[rows]
    left = ratings.values[rows] - bias.mean - bias.item_biases[items]
    user_bias = np.bincount(users, left) / (np.bincount(users) + BIAS_RIDGE)
    squares = np.square(left - user_bias[users])
    count = len(ratings.catalog)
    facts_IK = facts(
        torch.from_numpy(np.bincount(items, minlength=count).astype(np.float64)),
        torch.from_numpy(np.bincount(items, squares, count)),
        variance := float(squares.mean()),
    )
    return ItemFacts(torch.from_numpy(bias.mean + bias.item_biases), facts_IK, variance)


def fit_log_variance(terms: Floats, squares: Floats) -> Floats:
    """Weights [J], the constant's first, of log E[squares] = terms . weights; terms float64 [T, J].

    The Gaussian likelihood of the residuals (Harvey 1976), which asks of them no more than that
    their variance is so (gamma quasi-likelihood), with a ridge on standardised terms. `terms` has
    a constant as its first column.
    """
    middle, width = terms[:, 1:].mean(0), np.maximum(terms[:, 1:].std(0), 1e-9)
    standard = np.column_stack([terms[:, 0], (terms[:, 1:] - middle) / width])
    penalty = np.full(standard.shape[1], PENALTY)
    penalty[0] = 0

    def cost(weights: Floats) -> tuple[float, Floats]:
        log_variance = standard @ weights
        ratio = squares * np.exp(-log_variance)
        value = float((log_variance + ratio).sum() + penalty @ weights**2)
        return value / len(squares), (standard.T @ (1 - ratio) + 2 * penalty * weights) / len(
            squares
        )

    start = np.zeros(standard.shape[1])
    start[0] = np.log(max(float(squares.mean()), 1e-12))
    found: Floats = minimize(cost, start, jac=True, method="L-BFGS-B").x
    slopes = found[1:] / width
    return np.concatenate([[found[0] - slopes @ middle], slopes])


def elasticity(coverage: float) -> float:
    """d log reach / d log spread of the narrowest intervals, at least 0: 1 - 1 / z^2."""
    z = NormalDist().inv_cdf((1 + coverage) / 2)
    return max(0.0, 1 - 1 / z**2)


def _weights(terms: Floats, squares: Floats, coverage: float) -> Floats:
    """Both steps: the individual terms shrunk, the group's in full. Of log spreads: halved."""
    log_variance = np.zeros(terms.shape[1])
    first = fit_log_variance(terms[:, [0, *INDIVIDUAL]], squares)
    log_variance[INDIVIDUAL] = elasticity(coverage) * first[1:]
    left = squares * np.exp(-terms @ log_variance)
    log_variance[[0, *GROUP]] = fit_log_variance(terms[:, [0, *GROUP]], left)
    return log_variance / 2


def _spread_of_others(terms: Floats, squares: Floats, coverage: float) -> Floats:
    """Spreads [T], each by a regression that has not seen the row."""
    part = np.random.default_rng(0).permutation(len(squares)) % PARTS
    spread = np.empty(len(squares))
    for number in range(PARTS):
        own = part == number
        spread[own] = _spread(terms[own], _weights(terms[~own], squares[~own], coverage))
    return spread


def _spread(terms: Floats, weights: Floats) -> Floats:
    spread: Floats = np.exp((terms @ weights).clip(*LOG_SPREAD_RANGE))
    return spread
