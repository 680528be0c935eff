"""One experiment from ratings to held-out figures: choose, calibrate, refit, score once.

`training.__main__` wires it to the command line; publishing what came out is `training.publish`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks.graphs import FoldInNetwork
from training.baselines.reported import fit_reported
from training.cluster import refuse_undivided
from training.code_version import code_version
from training.ensembles.ensemble_estimator import EnsembleEstimator
from training.ensembles.ensemble_report import EnsembleReport
from training.evaluation.calibration import Calibrated
from training.evaluation.evaluate import evaluate_all
from training.evaluation.examples import Example, show_examples
from training.evaluation.intervals import FittedIntervals, fit_intervals
from training.evaluation.network_predictor import NetworkPredictor
from training.evaluation.predictor import Interval, Predictor
from training.evaluation.reliability import Reliability, measure_reliability
from training.evaluation.scores import Comparison
from training.evaluation.star_errors import StarErrors, measure_star_errors
from training.fitting.crew import meeting_point
from training.fitting.estimator import ServedEstimator, ServedModel
from training.fitting.network_estimator import NetworkEstimator
from training.publish import Figures, data_record
from training.report.record import RATINGLESS_PROTOCOLS, RunReport
from training.request import Request, claim_folder
from training.split import Fold
from training.teachers.faculty import Faculty


@dataclass(frozen=True)
class Outcome:
    """The network to serve, how wide its intervals are, and the report."""

    name: str
    network: FoldInNetwork
    interval: Interval
    report: RunReport
    on_validation: NDArray[np.float32]
    """What the chosen model, before its refit, rates the validation rows, by user, then item."""

    @property
    def figures(self) -> Figures:
        """Held-out metrics of the first test fold, for the manifest."""
        scores = {s.predictor: s.metrics for s in self.report.tests[0].scores}
        return Figures(metrics=scores.pop(self.name), baselines=scores)


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
    fits = _fits(request, watch)
    if fits is None:
        return None
    with watch.stage("baselines"):
        baselines = _baselines(request)
    with watch.stage("evaluate"):
        predictor = _predictor(fits.chosen.name, fits.network, request, fits.intervals)
        judged = _judge(predictor, baselines, request, fits.intervals.reach)
    report = _report(request, code, fits, judged, watch.seconds)
    intervals = fits.intervals
    return Outcome(
        predictor.name, fits.network, intervals.reach.served, report, intervals.on_validation
    )


def take_part(request: Request) -> bool:
    """Fit with the first of several machines, which does all the rest; False if interrupted.

    Raises TrainingError subclasses.
    """
    return _fits(request, Stopwatch()) is not None


@dataclass(frozen=True)
class _Fits:
    """The model as chosen, the refitted network, and what validation said of the chosen one."""

    chosen: ServedModel
    network: FoldInNetwork
    intervals: FittedIntervals
    validation: Comparison
    ensemble: EnsembleReport | None


def _fits(request: Request, watch: Stopwatch) -> _Fits | None:
    refuse_undivided(request.configuration, request.cluster)
    claim_folder(request)
    with Faculty(request) as faculty, meeting_point(request.cluster):
        return _fit(_estimator(request, faculty), faculty, request, watch)


def _estimator(request: Request, faculty: Faculty) -> ServedEstimator[Any]:
    kind = EnsembleEstimator if request.configuration.ensemble else NetworkEstimator
    return kind(request, faculty)


def _fit(
    estimator: ServedEstimator[Any], faculty: Faculty, request: Request, watch: Stopwatch
) -> _Fits | None:
    """Choose, calibrate, refit; None if it was interrupted."""
    with watch.stage("teach"):
        teacher = faculty.teacher("choose")
    if teacher is not None:  # it may have been kept; what it took counts all the same
        watch.seconds["teach"] = max(watch.seconds["teach"], round(teacher.fit_seconds, 2))
    with watch.stage("choose"):
        chosen = estimator.choose()
    if chosen is None:
        return None
    ratings, split = request.ratings, request.split
    intervals = fit_intervals(
        chosen.network, ratings, split.fit, split.validation, request.configuration.evaluation
    )
    judged = intervals.around(chosen.network, ratings, split.fit)
    predictor = _predictor(chosen.name, judged, request, intervals)
    validation = _compare([predictor], request, split.validation)
    with watch.stage("refit"):
        final = estimator.refit(chosen)
    if final is None:
        return None
    with watch.stage("price"):
        ensemble = estimator.report(final)
    served = intervals.around(final.network, ratings, split.refit if request.refits else split.fit)
    return _Fits(chosen, served, intervals, validation, ensemble)


def _baselines(request: Request) -> list[Predictor]:
    configuration = request.configuration
    return fit_reported(
        request.ratings, request.split, liked_from=configuration.evaluation.liked_from,
        seed=configuration.seed, pairwise=request.pairwise,
    )  # fmt: skip


@dataclass(frozen=True)
class _Judged:
    """What the test folds said of the refitted network; no stars where none are reported."""

    tests: list[Comparison]
    reliability: list[Reliability]
    star_errors: list[StarErrors]
    examples: list[Example]


def _judge(
    predictor: NetworkPredictor,
    baselines: list[Predictor],
    request: Request,
    intervals: Calibrated,
) -> _Judged:
    ratings, split = request.ratings, request.split
    predictors = [predictor, *baselines]
    stars = split.protocol not in RATINGLESS_PROTOCOLS
    starred = split.tests if stars else ()
    return _Judged(
        tests=[_compare(predictors, request, fold) for fold in split.tests],
        reliability=[
            measure_reliability(predictor, ratings, fold, split.refit, intervals)
            for fold in starred
        ],
        star_errors=[
            measure_star_errors(predictors, ratings, fold, split.refit) for fold in starred
        ],
        examples=show_examples(predictor, ratings, split.tests[0], stars=stars),
    )


def _predictor(
    name: str, network: FoldInNetwork, request: Request, intervals: FittedIntervals
) -> NetworkPredictor:
    scale = request.ratings.scale
    return NetworkPredictor(name, network, (scale.minimum, scale.maximum), intervals.reach.served)


def _compare(predictors: list[Predictor], request: Request, fold: Fold) -> Comparison:
    return evaluate_all(
        predictors,
        request.ratings,
        fold,
        liked_from=request.configuration.evaluation.liked_from,
        seed=request.configuration.seed,
        reference=predictors[0].name,
        stars=request.split.protocol not in RATINGLESS_PROTOCOLS,
    )


def _report(
    request: Request,
    code: str,
    fits: _Fits,
    judged: _Judged,
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
        chosen_epoch=fits.chosen.epochs,
        epochs=[record.row for record in fits.chosen.history],
        warnings=fits.chosen.warnings,
        ensemble=fits.ensemble,
        validation=fits.validation,
        tests=judged.tests,
        reliability=judged.reliability,
        seconds=seconds,
        code_version=code,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        rating_scale=request.ratings.scale,
        star_errors=judged.star_errors,
        examples=judged.examples,
    )
