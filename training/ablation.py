"""One change at a time, several seeds, validation rows only: what a technique is worth.

Every variant is the base configuration with overrides. Each is fitted on the fit rows from each
seed and scored on the validation fold; test rows are not touched. A trial is written down as soon
as it is over, under everything it depends on, so an ablation that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from training.code_version import code_version
from training.config import Configuration
from training.errors import ConfigurationError
from training.evaluation.evaluate import evaluate
from training.evaluation.network_predictor import NetworkPredictor
from training.fitting.trainer import choose
from training.ratings import Ratings
from training.split import Split
from training.teachers.teacher import Tutor
from training.teachers.teaching import engage_tutor

BASE = "as it is"
COMPARED = {"rmse": False, "ndcg@100": True}
"""The figures a table compares, and whether more is better."""


class Trial(BaseModel):
    """One variant from one seed. epoch: the one that validated best; seconds: all of fitting."""

    model_config = ConfigDict(frozen=True)

    variant: str
    seed: int
    figures: dict[str, float]
    epoch: int
    epochs: int
    seconds: float
    warnings: list[str]
    code: str


@dataclass(frozen=True)
class Ablation:
    """What to try: name -> configuration, the first being the base; from every seed.

    folder: where trials are written down. state: where teachers and their libraries are.
    """

    ratings: Ratings
    split: Split
    variants: dict[str, Configuration]
    seeds: Sequence[int]
    folder: Path
    state: Path
    say: Callable[[str], None]


def ablate(ablation: Ablation) -> list[Trial]:
    """Carry out the trials that are not written down yet, and return all, base first.

    Raises TrainingError subclasses, such as TrainingDiverged, and ConfigurationError for an
    ensemble; KeyboardInterrupt between trials.
    """
    for name, variant in ablation.variants.items():
        if variant.ensemble:
            raise ConfigurationError(
                f"A trial fits one network and {name} is an ensemble; try its members one by one, "
                "with --set ensemble=null."
            )
    return list(_trials(ablation))


def _trials(ablation: Ablation) -> Iterator[Trial]:
    tutors: dict[str, Tutor | None] = {}
    for name, variant in ablation.variants.items():
        for seed in ablation.seeds:
            configuration = variant.model_copy(update={"seed": seed})
            path = ablation.folder / f"{_key(ablation, configuration)}.json"
            if not path.exists():
                found = _carry_out(ablation, name, configuration, tutors, path.with_suffix(""))
                path.write_text(found.model_dump_json(indent=2))
                ablation.say(f"{name}, seed {seed}: {_told(found.figures)}")
            trial = Trial.model_validate_json(path.read_text())
            yield trial.model_copy(update={"variant": name})


def _key(ablation: Ablation, configuration: Configuration) -> str:
    """A digest of what a trial depends on; the code is not part of it, its version is written."""
    content = {
        "configuration": configuration.model_dump(mode="json", exclude={"name"}),
        "data": ablation.ratings.digest,
        "split": ablation.split.digest,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _carry_out(
    ablation: Ablation,
    name: str,
    configuration: Configuration,
    tutors: dict[str, Tutor | None],
    folder: Path,
) -> Trial:
    ratings, split, start = ablation.ratings, ablation.split, time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    fitted = choose(
        ratings, split.fit, split.validation, configuration, folder, _silent,
        progress=False, tutor=_tutor(ablation, configuration, tutors),
    )  # fmt: skip
    if fitted.interrupted:
        raise KeyboardInterrupt
    scale = (ratings.scale.minimum, ratings.scale.maximum)
    scores = evaluate(
        NetworkPredictor(name, fitted.network, scale), ratings, split.validation,
        liked_from=configuration.evaluation.liked_from, seed=split.seed,
        stars=split.protocol != "users-liked",
    )  # fmt: skip
    seconds = round(time.monotonic() - start, 1)
    return Trial(
        variant=name, seed=configuration.seed, figures=scores.metrics, epoch=fitted.epochs,
        epochs=len(fitted.history), seconds=seconds, warnings=fitted.warnings, code=code_version(),
    )  # fmt: skip


def _tutor(
    ablation: Ablation, configuration: Configuration, tutors: dict[str, Tutor | None]
) -> Tutor | None:
    """The teachers of a configuration, fitted once for all variants that share them and a seed."""
    taught = configuration.training
    key = repr((taught.teacher, taught.ranking_teacher, configuration.seed))
    if key not in tutors:
        tutors[key] = engage_tutor(
            ablation.ratings, ablation.split.fit, configuration, ablation.state
        )
    return tutors[key]


def _silent(text: str) -> None:
    """A trial's warnings are written down with it."""


def _told(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {figures[name]:.4f}" for name in COMPARED if name in figures)


def ablation_table(trials: Sequence[Trial], title: str) -> Table:
    """One row a variant: mean figures, and paired differences from the base with their spread."""
    by_variant: dict[str, list[Trial]] = {}
    for trial in trials:
        by_variant.setdefault(trial.variant, []).append(trial)
    base = next(iter(by_variant.values()))
    seeds = ", ".join(str(trial.seed) for trial in base)
    table = Table(title=title, caption=f"means over seeds {seeds}; +-: standard deviation")
    table.add_column("variant")
    for name in COMPARED:
        table.add_column(name, justify="right")
        table.add_column("change", justify="right")
    table.add_column("seconds", justify="right")
    for variant, mine in by_variant.items():
        cells = [cell for name in COMPARED for cell in _cells(name, mine, base)]
        table.add_row(variant, *cells, f"{np.mean([trial.seconds for trial in mine]):.0f}")
    return table


def _cells(name: str, mine: Sequence[Trial], base: Sequence[Trial]) -> tuple[str, str]:
    """The mean of a figure, and the mean and spread of its change seed by seed."""
    if any(name not in trial.figures for trial in (*mine, *base)):
        return "-", "-"
    values = np.array([trial.figures[name] for trial in mine])
    change = values - np.array([trial.figures[name] for trial in base])
    if mine is base:
        return f"{values.mean():.4f}", f"+-{_spread(values):.4f}"
    return f"{values.mean():.4f}", f"{change.mean():+.4f} +-{_spread(change):.4f}"


def _spread(values: np.ndarray) -> float:
    """The standard deviation over seeds; 0 for one seed."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
