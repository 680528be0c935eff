"""Our own networks: a shipped configuration carried through training.run, as `make evaluate` does.

What the chosen and the refitted network predict is kept for the blend. The chosen one is read from
the run's best.ckpt and must give the validation RMSE that the run reports.
"""

from __future__ import annotations

from pathlib import Path

import torch

from models.networks.collapse import collapsed
from training import metrics
from training.accuracy.bench import Bench, Measured
from training.accuracy.kept import Kept, keep
from training.accuracy.plan import HELD_OUT_USERS, SPLIT_SEED, Cell
from training.config import Configuration, load_configuration
from training.network_predictor import NetworkPredictor
from training.request import Request
from training.run import MODEL, Outcome, run
from training.trainer import build_network

NOT_TRAINING = frozenset({"baselines", "evaluate"})
SAME_RMSE = 1e-4


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
        progress=False, environments=bench.state / "peers",
    )  # fmt: skip
    outcome = run(request)
    if outcome is None:
        raise KeyboardInterrupt
    report = outcome.report
    seconds = sum(value for name, value in report.seconds.items() if name not in NOT_TRAINING)
    if bench.cell.protocol not in HELD_OUT_USERS:
        _keep(bench, request, outcome, seconds)
    return Measured(
        tuple(test.of(MODEL) for test in report.tests),
        report.chosen_epoch,
        seconds,
        {"configuration": report.configuration, "warnings": report.warnings},
        report,
    )


def _keep(bench: Bench, request: Request, outcome: Outcome, seconds: float) -> None:
    split, scale = bench.split, (bench.ratings.scale.minimum, bench.ratings.scale.maximum)
    chosen = chosen_predictor(request)
    on_validation = bench.ratings_of(chosen, split.validation)
    hidden = bench.ratings.histories(split.validation.hidden)
    found = metrics.rmse(hidden.ratings, on_validation)
    reported = outcome.report.validation.of(MODEL).rmse
    if reported is None or abs(found - reported) > SAME_RMSE:
        bench.say(
            f"{bench.cell.name}: best.ckpt gives validation RMSE {found:.4f} and the run reported "
            f"{reported}; nothing is kept for the blend."
        )
        return
    final = NetworkPredictor(MODEL, outcome.fitted.network, scale)
    tests = tuple(bench.ratings_of(final, fold) for fold in split.tests)
    keep(request.folder, Kept(on_validation, tests, seconds))


def chosen_predictor(request: Request) -> NetworkPredictor:
    """The network of the best epoch, before the refit, from the run's checkpoint."""
    network = build_network(request.ratings, request.split.fit, request.configuration)
    path = Path(request.folder) / "best.ckpt"
    weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    own = {k.removeprefix("network."): v for k, v in weights.items() if k.startswith("network.")}
    network.load_state_dict(own)
    served = collapsed(network.eval())
    scale = request.ratings.scale
    return NetworkPredictor(MODEL, served, (scale.minimum, scale.maximum))
