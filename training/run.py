"""One experiment from ratings to held-out figures: choose, calibrate, refit, score once.

`training.__main__` wires it to the command line; publishing what came out is `training.publish`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from training.baselines.reported import fit_reported
from training.calibration import Calibrated, calibrated
from training.evaluate import evaluate_all
from training.network_predictor import NetworkPredictor
from training.predictor import GAUSSIAN_80, Interval, Predictor
from training.publish import Figures, code_version, data_record
from training.reliability import Reliability, measure_reliability
from training.report import RunReport
from training.request import Request, claim_folder
from training.scores import Comparison
from training.split import Fold
from training.teaching import engage_tutor
from training.trainer import Fitted, choose, refit

MODEL = "hybrid-vae"
RATINGLESS_PROTOCOLS = frozenset({"users-liked"})


@dataclass(frozen=True)
class Outcome:
    """The network to serve, how wide its intervals are, and the report."""

    fitted: Fitted
    interval: Interval
    report: RunReport

    @property
    def figures(self) -> Figures:
        """Held-out metrics of the first test fold, for the manifest."""
        scores = {s.predictor: s.metrics for s in self.report.tests[0].scores}
        return Figures(metrics=scores.pop(MODEL), baselines=scores)


@dataclass
class Stopwatch:
    """Seconds spent on each named stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage."""
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 2)


def run(request: Request) -> Outcome | None:
    """Carry out the experiment; None if it was interrupted, the best checkpoint kept.

    Raises TrainingError subclasses. Every choice is made on the validation fold; each test fold is
    scored once, after the refit.
    """
    code, watch = code_version(), Stopwatch()
    ratings, split, configuration = request.ratings, request.split, request.configuration
    claim_folder(request)
    with watch.stage("teach"):
        tutor = engage_tutor(ratings, split.fit, configuration, request.environments)
    with watch.stage("choose"):
        chosen = choose(
            ratings, split.fit, split.validation, configuration, request.folder, request.say,
            resume=request.resume, progress=request.progress, tutor=tutor,
        )  # fmt: skip
    if chosen.interrupted:
        return None
    intervals = calibrate(chosen, request)
    validation = _compare(
        [_predictor(chosen, request, intervals.served)], request, split.validation
    )
    with watch.stage("refit"):
        final = _refit(chosen, request)
    if final.interrupted:
        return None
    with watch.stage("baselines"):
        baselines = fit_reported(
            ratings, split, liked_from=configuration.evaluation.liked_from,
            seed=configuration.seed, pairwise=request.pairwise,
        )  # fmt: skip
    with watch.stage("evaluate"):
        predictors = [_predictor(final, request, intervals.served), *baselines]
        tests = [_compare(predictors, request, fold) for fold in split.tests]
        reliability = _judge(final, request, intervals)
    report = _report(request, code, chosen, validation, tests, reliability, watch.seconds)
    return Outcome(final, intervals.served, report)


def calibrate(fitted: Fitted, request: Request) -> Calibrated:
    """How far intervals of the configured and of other coverages reach, from validation rows."""
    fold = request.split.validation
    visible, hidden = (
        request.ratings.histories(fold.visible),
        request.ratings.histories(fold.hidden),
    )
    predicted, spread = _predictor(fitted, request, GAUSSIAN_80).rate_with_spread(
        visible, hidden.rows, hidden.items
    )
    coverage = request.configuration.evaluation.coverage
    return calibrated(hidden.ratings, predicted, spread, coverage)


def _judge(final: Fitted, request: Request, intervals: Calibrated) -> list[Reliability]:
    """The intervals' reliability on every test fold; none where no stars are reported."""
    split, predictor = request.split, _predictor(final, request, intervals.served)
    if split.protocol in RATINGLESS_PROTOCOLS:
        return []
    return [
        measure_reliability(predictor, request.ratings, fold, split.refit, intervals)
        for fold in split.tests
    ]


def _refit(chosen: Fitted, request: Request) -> Fitted:
    """The chosen run again on all training rows; the chosen network where there are no more."""
    if not request.refits:
        return chosen
    ratings, rows = request.ratings, request.split.refit
    final = refit(
        ratings, rows, chosen, request.configuration, request.say,
        progress=request.progress,
        tutor=engage_tutor(ratings, rows, request.configuration, request.environments),
    )  # fmt: skip
    return replace(final, history=chosen.history, warnings=chosen.warnings)


def _predictor(fitted: Fitted, request: Request, interval: Interval) -> NetworkPredictor:
    scale = request.ratings.scale
    return NetworkPredictor(MODEL, fitted.network, (scale.minimum, scale.maximum), interval)


def _compare(predictors: list[Predictor], request: Request, fold: Fold) -> Comparison:
    return evaluate_all(
        predictors,
        request.ratings,
        fold,
        liked_from=request.configuration.evaluation.liked_from,
        seed=request.configuration.seed,
        reference=MODEL,
        stars=request.split.protocol not in RATINGLESS_PROTOCOLS,
    )


def _report(
    request: Request,
    code: str,
    chosen: Fitted,
    validation: Comparison,
    tests: list[Comparison],
    reliability: list[Reliability],
    seconds: dict[str, float],
) -> RunReport:
    split, configuration = request.split, request.configuration
    return RunReport(
        configuration=configuration.model_dump(mode="json"),
        data=data_record(request.ratings),
        protocol=split.protocol,
        split_seed=split.seed,
        split_digest=split.digest,
        seed=configuration.seed,
        fit_rows=len(split.fit),
        refit_rows=len(split.refit),
        chosen_epoch=chosen.epochs,
        epochs=[{"epoch": record.epoch} | record.figures for record in chosen.history],
        warnings=chosen.warnings,
        validation=validation,
        tests=tests,
        reliability=reliability,
        seconds=seconds,
        code_version=code,
    )
