"""Our own networks: a shipped configuration carried through training.run, as `make evaluate` does.

What the chosen and the refitted network predict is kept for the blend.
"""

from __future__ import annotations

from pathlib import Path

from training.accuracy.bench import Bench, Measured
from training.accuracy.kept import Kept, keep
from training.accuracy.plan import HELD_OUT_USERS, SPLIT_SEED, Cell
from training.config import Configuration, load_configuration
from training.evaluation.network_predictor import NetworkPredictor
from training.request import Request
from training.run import Outcome, run

NOT_TRAINING = frozenset({"price", "baselines", "evaluate"})


def configuration_of(cell: Cell) -> Configuration:
    """The YAML named like the model, on the cell's split, from the cell's seed.

    Raises ConfigurationError if there is no such configuration.
    """
    return load_configuration(
        cell.model,
        [
            f"evaluation.protocol={cell.protocol}",
            f"evaluation.split_seed={SPLIT_SEED}",
            f"seed={cell.seed or 1}",
        ],
    )


def measure_network(bench: Bench) -> Measured:
    """Train by the configuration and take the figures of its report."""
    folder = bench.folder_of(bench.cell)
    configuration = configuration_of(bench.cell)
    request = Request(
        bench.ratings, bench.split, configuration, folder, bench.say,
        progress=False, state=bench.state,
    )  # fmt: skip
    outcome = run(request)
    if outcome is None:
        raise KeyboardInterrupt
    report = outcome.report
    seconds = sum(value for name, value in report.seconds.items() if name not in NOT_TRAINING)
    if bench.cell.protocol not in HELD_OUT_USERS:
        _keep(bench, outcome, folder, seconds)
    return Measured(
        tuple(test.of(test.reference) for test in report.tests),
        report.chosen_epoch,
        seconds,
        {
            "configuration": report.configuration,
            "warnings": report.warnings,
            "gaps": report.gaps,
            "ensemble": report.ensemble and report.ensemble.model_dump(mode="json"),
        },
        report,
    )


def _keep(bench: Bench, outcome: Outcome, folder: Path, seconds: float) -> None:
    """Keep what the chosen model says of the validation rows and the refitted one of the tests."""
    scale = bench.ratings.scale
    final = NetworkPredictor(outcome.name, outcome.network, (scale.minimum, scale.maximum))
    tests = tuple(bench.ratings_of(final, fold) for fold in bench.split.tests)
    keep(folder, Kept(outcome.on_validation, tests, seconds))
