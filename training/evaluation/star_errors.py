"""Where predicted stars go wrong: by true rating, by the user's activity, by the item's popularity.

    levels   what was predicted where the true rating was 1, 2, ... (ten ranges of a finer scale):
             mean, quantiles and a histogram over `bins`
    fifths   RMSE in each fifth of the users by the length of their visible history, and of the
             items by popularity, beside that of the baselines that rate

Shapes: T scored rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories
from models.manifest import RatingScale
from training.evaluation.fifths import fifths
from training.evaluation.metrics import Floats, rmse
from training.evaluation.predictor import Predictor, Transductive
from training.evaluation.record import Record
from training.ratings import Ratings
from training.split import Fold, Rows

MOST_LEVELS = 10
BINS = 36
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class LevelPredictions(Record):
    """Predictions where the true rating lies in `lowest` to `highest`.

    quantiles: at 5, 25, 50, 75 and 95%. counts: rows in each bin of the record.
    """

    lowest: float
    highest: float
    rows: int
    mean: float
    quantiles: tuple[float, ...]
    counts: tuple[int, ...]


class ErrorBand(Record):
    """A fifth of the users or items: `smallest` to `largest` ratings each, `rows` scored rows.

    rmse: by predictor.
    """

    smallest: int
    largest: int
    rows: int
    rmse: dict[str, float]


class StarErrors(Record):
    """One predictor's predictions on one fold. bins: ascending ends of the histograms' bins."""

    fold: str
    predictor: str
    rows: int
    bins: tuple[float, ...]
    levels: tuple[LevelPredictions, ...]
    users: tuple[ErrorBand, ...]
    items: tuple[ErrorBand, ...]


def measure_star_errors(
    predictors: Sequence[Predictor], ratings: Ratings, fold: Fold, fitted: Rows
) -> StarErrors:
    """Break down the errors on the hidden rows of a fold: of the first predictor, beside the rest.

    `fitted` are the rows that popularity is counted on. Predictors that do not rate are left out;
    raises ValueError if the first is one of them.
    """
    visible, hidden = ratings.histories(fold.visible), ratings.histories(fold.hidden)
    rated = {p.name: rated_by(p, visible, hidden) for p in predictors}
    predicted = {name: values for name, values in rated.items() if values is not None}
    first = predictors[0].name
    if first not in predicted:
        raise ValueError(f"{first} does not rate.")
    actual = hidden.ratings.astype(np.float64)
    popularity = np.bincount(ratings.items[fitted], minlength=len(ratings.catalog))
    bins = np.linspace(ratings.scale.minimum, ratings.scale.maximum, BINS + 1)
    return StarErrors(
        fold=fold.name,
        predictor=first,
        rows=len(actual),
        bins=tuple(bins.tolist()),
        levels=tuple(_levels(actual, predicted[first], ratings.scale, bins)),
        users=_bands(hidden.rows, visible.lengths, actual, predicted),
        items=_bands(hidden.items, popularity, actual, predicted),
    )


def rated_by(predictor: Predictor, visible: Histories, hidden: Histories) -> Floats | None:
    """float64 [T]: what a predictor says of the hidden ratings of all users; None if nothing."""
    if isinstance(predictor, Transductive):
        predictor = predictor.for_users(np.arange(len(hidden)))
    rated = predictor.rate(visible, hidden.rows, hidden.items)
    return None if rated is None else rated.astype(np.float64)


def _levels(
    actual_T: Floats, predicted_T: Floats, scale: RatingScale, bins: Floats
) -> Iterator[LevelPredictions]:
    for lowest, highest, rows_T in _parts(actual_T, scale):
        of_level = predicted_T[rows_T]
        if len(of_level):
            yield LevelPredictions(
                lowest=lowest,
                highest=highest,
                rows=len(of_level),
                mean=float(of_level.mean()),
                quantiles=tuple(np.quantile(of_level, QUANTILES).tolist()),
                counts=tuple(np.histogram(of_level, bins)[0].tolist()),
            )


def _parts(
    actual_T: Floats, scale: RatingScale
) -> Iterator[tuple[float, float, NDArray[np.bool_]]]:
    """Each level of the scale and its rows; ranges of equal width where levels are many."""
    levels = scale.levels.astype(np.float64)
    if len(levels) <= MOST_LEVELS:
        step_T = np.rint((actual_T - scale.minimum) / scale.step)
        for number, level in enumerate(levels.tolist()):
            yield level, level, step_T == number
        return
    ends = np.linspace(scale.minimum, scale.maximum, MOST_LEVELS + 1)
    part_T = np.clip(np.searchsorted(ends, actual_T, side="right") - 1, 0, MOST_LEVELS - 1)
    for number in range(MOST_LEVELS):
        yield float(ends[number]), float(ends[number + 1]), part_T == number


def _bands(
    of_row_T: NDArray[Any],
    sizes: NDArray[Any],
    actual_T: Floats,
    predicted: Mapping[str, Floats],
) -> tuple[ErrorBand, ...]:
    return tuple(
        ErrorBand(
            smallest=fifth.smallest,
            largest=fifth.largest,
            rows=int(fifth.rows.sum()),
            rmse={
                name: rmse(actual_T[fifth.rows], values_T[fifth.rows])
                for name, values_T in predicted.items()
            },
        )
        for fifth in fifths(of_row_T, sizes)
    )
