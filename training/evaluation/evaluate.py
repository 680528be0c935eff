"""How every model and baseline is scored: on the same rows, by the same formulas, side by side.

A predictor sees the visible part of each user and answers for the hidden part. Stars are scored on
all hidden rows. Ranking targets are the hidden rows of at least `liked_from`; exactly the visible
items are excluded, the rest of the catalogue is ranked, and users without a target do not count.

Everything is a ratio of sums over users, kept per user (a Tally), so the bootstrap resamples users
and a difference between two predictors is taken within each resample. Users are processed in
batches: nothing users x items is larger than one batch.

Shapes: B users of a batch, U users of the fold, T hidden rows of a batch, I items, K ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories
from models.manifest import RatingScale
from training.evaluation import metrics
from training.evaluation.metrics import Floats
from training.evaluation.predictor import (
    GAUSSIAN_80,
    Interval,
    IntervalPredictor,
    Predictor,
    Transductive,
)
from training.evaluation.scores import Comparison, Estimate, Scores
from training.ratings import Ratings

if TYPE_CHECKING:
    from training.split import Fold

__all__ = [
    "Asked",
    "Comparison",
    "Estimate",
    "IntervalPredictor",
    "Predictor",
    "Scores",
    "Tally",
    "Transductive",
    "evaluate",
    "evaluate_all",
    "tally",
]

RANKS = 100
USERS_PER_BATCH = 256

# Each figure is the sum of one column over the sum of another; rmse is the root of mse.
RATIOS = {
    "mse": ("squared_error", "rows"),
    "mae": ("absolute_error", "rows"),
    "ndcg@100": ("ndcg@100", "ranked"),
    "recall@20": ("recall@20", "ranked"),
    "recall@50": ("recall@50", "ranked"),
    "precision@10": ("precision@10", "ranked"),
    "coverage": ("covered", "rows"),
    "width": ("width", "rows"),
}


@dataclass(frozen=True)
class Asked:
    """What an evaluation asks for: what counts as liked, and which kinds of figures."""

    liked_from: float
    stars: bool = True
    ranking: bool = True


@dataclass(frozen=True)
class Tally:
    """What a predictor earned on a fold, per user: columns float64 [U] that RATIOS divides."""

    predictor: str
    columns: dict[str, Floats]
    targets: int
    nominal_coverage: float | None = None

    def figures(self) -> dict[str, float]:
        """Each figure that has an answer, under its JSON name."""
        sums = {name: np.array([column.sum()]) for name, column in self.columns.items()}
        figures = {name: float(values[0]) for name, values in _ratios(sums).items()}
        return {name: value for name, value in figures.items() if np.isfinite(value)}

    def resampled(self, seed: int) -> dict[str, Floats]:
        """Each figure on RESAMPLES bootstrap draws of the users; paired across equal seeds."""
        sums_RC = metrics.resampled_sums(np.column_stack(list(self.columns.values())), seed)
        return _ratios(dict(zip(self.columns, sums_RC.T, strict=True)))


def evaluate(
    predictor: Predictor,
    ratings: Ratings,
    fold: Fold,
    *,
    liked_from: float,
    seed: int,
    stars: bool = True,
    ranking: bool = True,
) -> Scores:
    """Score one predictor on the hidden rows of a fold.

    `seed` draws the bootstrap, nothing else. `stars=False` leaves out the rating figures (the
    protocol users-liked reports none), `ranking=False` those of ranking, which cost users x items
    predictions.
    """
    asked = Asked(liked_from, stars, ranking)
    counted = tally(predictor, ratings, fold, asked)
    return _scores(counted, counted.resampled(seed), fold.name, liked_from, seed)


def evaluate_all(
    predictors: Sequence[Predictor],
    ratings: Ratings,
    fold: Fold,
    *,
    liked_from: float,
    seed: int,
    reference: str,
    stars: bool = True,
    ranking: bool = True,
) -> Comparison:
    """Score several predictors on the same rows and compare each with the one named `reference`.

    Raises ValueError if `reference` names none of them or two share a name.
    """
    names = [predictor.name for predictor in predictors]
    if reference not in names or len(set(names)) < len(names):
        raise ValueError(f"Predictors {names} must differ in name and include {reference!r}.")
    asked = Asked(liked_from, stars, ranking)
    tallies = [tally(predictor, ratings, fold, asked) for predictor in predictors]
    draws = {counted.predictor: counted.resampled(seed) for counted in tallies}
    figures = {counted.predictor: counted.figures() for counted in tallies}
    return Comparison(
        fold=fold.name,
        reference=reference,
        scores=tuple(
            _scores(counted, draws[counted.predictor], fold.name, liked_from, seed)
            for counted in tallies
        ),
        differences={
            name: _differences(figures[name], figures[reference], draws[name], draws[reference])
            for name in names
            if name != reference
        },
    )


def tally(predictor: Predictor, ratings: Ratings, fold: Fold, asked: Asked) -> Tally:
    """Count what a predictor earns from every user with a hidden row, batch by batch."""
    users = np.unique(ratings.users[fold.hidden]).astype(np.int64)
    visible = ratings.histories(fold.visible)
    hidden = ratings.histories(fold.hidden)
    batches = [
        _tally_batch(
            predictor.for_users(batch) if isinstance(predictor, Transductive) else predictor,
            visible.take(batch),
            hidden.take(batch),
            ratings,
            asked,
        )
        for batch in _batches(users)
    ]
    targets = int((ratings.values[fold.hidden] >= asked.liked_from).sum())
    columns = _joined(batches)
    nominal = interval_of(predictor).coverage if "covered" in columns else None
    return Tally(predictor.name, columns, targets, nominal)


def interval_of(predictor: Predictor) -> Interval:
    """How wide a predictor's intervals are; that of Gaussian errors if it does not say."""
    interval: Interval = getattr(predictor, "interval", GAUSSIAN_80)
    return interval


def _batches(users: NDArray[np.int64]) -> Iterable[NDArray[np.int64]]:
    return (users[s : s + USERS_PER_BATCH] for s in range(0, len(users), USERS_PER_BATCH))


def _joined(batches: list[dict[str, Floats]]) -> dict[str, Floats]:
    names = batches[0] if batches else {"rows": np.zeros(0), "ranked": np.zeros(0)}
    return {name: np.concatenate([np.zeros(0), *(b[name] for b in batches)]) for name in names}


def _tally_batch(
    predictor: Predictor, visible: Histories, hidden: Histories, ratings: Ratings, asked: Asked
) -> dict[str, Floats]:
    targets = metrics.liked(hidden, asked.liked_from)
    columns = {
        "rows": hidden.lengths.astype(np.float64),
        "ranked": (targets.lengths > 0).astype(np.float64),
    }
    if asked.stars:
        columns |= _tally_stars(predictor, visible, hidden, ratings.scale)
    if asked.ranking:
        columns |= _tally_ranking(predictor, visible, targets, len(ratings.catalog))
    return columns


def _tally_stars(
    predictor: Predictor, visible: Histories, hidden: Histories, scale: RatingScale
) -> dict[str, Floats]:
    spreads = None
    if isinstance(predictor, IntervalPredictor):
        predicted, spreads = predictor.rate_with_spread(visible, hidden.rows, hidden.items)
    else:
        rated = predictor.rate(visible, hidden.rows, hidden.items)
        if rated is None:
            return {}
        predicted = rated
    _check(predictor.name, "rated", predicted, (len(hidden.items),))
    errors = predicted.astype(np.float64) - hidden.ratings
    per_row = {"squared_error": np.square(errors), "absolute_error": np.abs(errors)}
    if spreads is not None:
        _check(predictor.name, "gave a spread for", spreads, (len(hidden.items),))
        reach = spreads * interval_of(predictor).multiplier
        low, high = np.clip((predicted - reach, predicted + reach), scale.minimum, scale.maximum)
        per_row["covered"] = metrics.inside(hidden.ratings, low, high).astype(np.float64)
        per_row["width"] = (high - low).astype(np.float64)
    return {
        name: np.bincount(hidden.rows, values, len(hidden)).astype(np.float64)
        for name, values in per_row.items()
    }


def _tally_ranking(
    predictor: Predictor, visible: Histories, targets: Histories, items: int
) -> dict[str, Floats]:
    answer_BI = predictor.score(visible)
    if answer_BI is None:
        return {}
    _check(predictor.name, "scored", answer_BI, (len(visible), items))
    scores_BI = np.array(answer_BI, dtype=np.float32)
    scores_BI[visible.rows, visible.items] = -np.inf
    hits_BK = metrics.hits(metrics.top_items(scores_BI, RANKS), targets)
    per_user = {
        "ndcg@100": metrics.ndcg(hits_BK, targets.lengths, 100),
        "recall@20": metrics.recall(hits_BK, targets.lengths, 20),
        "recall@50": metrics.recall(hits_BK, targets.lengths, 50),
        "precision@10": metrics.precision(hits_BK, targets.lengths, 10),
    }
    return {name: np.nan_to_num(values_B) for name, values_B in per_user.items()}


def _check(name: str, did: str, answer: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    if answer.shape != shape:
        raise ValueError(f"{name} {did} an array of shape {answer.shape}, not {shape}.")
    if np.isnan(answer).any():
        raise ValueError(f"{name} {did} NaN.")


def _ratios(sums: dict[str, Floats]) -> dict[str, Floats]:
    """Every figure whose columns are there; NaN where the denominator is 0."""
    figures = {
        name: np.divide(
            sums[gained], sums[of], out=np.full_like(sums[gained], np.nan), where=sums[of] > 0
        )
        for name, (gained, of) in RATIOS.items()
        if gained in sums
    }
    return {"rmse": np.sqrt(figures["mse"]), **figures} if "mse" in figures else figures


def _scores(
    counted: Tally, draws: dict[str, Floats], fold: str, liked_from: float, seed: int
) -> Scores:
    figures = counted.figures()
    return Scores.model_validate(
        {
            "predictor": counted.predictor,
            "fold": fold,
            "seed": seed,
            "liked_from": liked_from,
            "users": len(counted.columns["rows"]),
            "ranked_users": int(counted.columns["ranked"].sum()),
            "rows": int(counted.columns["rows"].sum()),
            "targets": counted.targets,
            "nominal_coverage": counted.nominal_coverage,
            "intervals": {n: _estimate(value, draws[n]) for n, value in figures.items()},
            **figures,
        }
    )


def _differences(
    own: dict[str, float],
    other: dict[str, float],
    own_draws: dict[str, Floats],
    other_draws: dict[str, Floats],
) -> dict[str, Estimate]:
    return {
        name: _estimate(own[name] - other[name], own_draws[name] - other_draws[name])
        for name in own
        if name in other
    }


def _estimate(value: float, draws: Floats) -> Estimate:
    low, high = metrics.percentile_interval(draws) or (value, value)
    return Estimate(value=value, low=low, high=high)
