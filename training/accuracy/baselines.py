"""The baselines of the table: bias, popularity, EASE with its penalty tuned, the pairwise VAE."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

from training.accuracy.bench import LIKED_FROM, Bench, Measured
from training.accuracy.search import Search, search
from training.baselines import (
    PROVEN,
    fit_bias,
    fit_ease,
    fit_pairwise,
    fit_popularity,
    refit_pairwise,
)
from training.evaluation.predictor import Predictor
from training.split import Rows

EASE_SEARCH = Search(
    start={"lambda_": 500.0},
    grid={"lambda_": (250.0, 1000.0)},
    figure="ndcg@100",
    higher=True,
    rounds=1,
)
# An epoch on MovieLens 1M takes the better part of a minute, and the notes ask for a hundred.
PAIRWISE = PROVEN.model_copy(update={"max_seconds": 1800.0})
BASELINE_SETTINGS = {
    "bias": {},
    "popularity": {},
    "ease": asdict(EASE_SEARCH),
    "pairwise": PAIRWISE.model_dump(),
}


def measure_bias(bench: Bench) -> Measured:
    """Mean, user and item biases, each shrunk by its ridge penalty."""
    return _closed_form(bench, lambda rows: fit_bias(bench.ratings, rows))


def measure_popularity(bench: Bench) -> Measured:
    """How many liked each item."""
    return _closed_form(
        bench, lambda rows: fit_popularity(bench.ratings, rows, liked_from=LIKED_FROM)
    )


def measure_ease(bench: Bench) -> Measured:
    """EASE, its penalty chosen by NDCG@100 on the validation fold."""

    def fit(rows: Rows, lambda_: float) -> Predictor:
        return fit_ease(bench.ratings, rows, liked_from=LIKED_FROM, lambda_=lambda_)

    def trial(settings: dict[str, float]) -> float:
        fitted = fit(bench.split.fit, settings["lambda_"])
        scores = bench.score(fitted, bench.split.validation, stars=False)
        return scores.metrics[EASE_SEARCH.figure]

    found = search(EASE_SEARCH, trial)
    choices = asdict(found) | {"grid": EASE_SEARCH.grid}
    return _closed_form(bench, lambda rows: fit(rows, found.settings["lambda_"]), choices)


def measure_pairwise(bench: Bench) -> Measured:
    """The pairwise VAE of the notes, choosing capped at PAIRWISE.max_seconds."""
    start, split = time.monotonic(), bench.split
    model = fit_pairwise(
        bench.ratings, split.fit,
        validation=split.validation.hidden, settings=PAIRWISE, seed=bench.seed,
    )  # fmt: skip
    choices = {"max_seconds": PAIRWISE.max_seconds, "epochs": len(model.epochs)}
    epoch = model.best_epoch
    if bench.refits:
        model = refit_pairwise(model, bench.ratings, split.refit, seed=bench.seed)
    seconds = time.monotonic() - start
    return Measured(bench.score_tests(model), epoch, seconds, choices)


def _closed_form(
    bench: Bench, fit: Callable[[Rows], Predictor], choices: dict[str, object] | None = None
) -> Measured:
    start = time.monotonic()
    predictor = fit(bench.split.refit)
    seconds = time.monotonic() - start
    return Measured(bench.score_tests(predictor), None, seconds, choices or {})
