"""What the experiment record is told of a run: before it starts, and once it is over.

parameters   the flattened configuration (a model without one: its choices), seed and digests
figures      held-out metrics by fold, `validation` among them
curves       the figures of every epoch
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.ratings import Ratings
from training.report import RunReport
from training.request import Request
from training.split import Split

Figures = dict[str, float]


@dataclass(frozen=True)
class Started:
    """A run as it begins. command: train, evaluate or accuracy; code: the git revision."""

    command: str
    model: str
    seed: int | None
    data: str
    data_digest: str
    protocol: str
    split_digest: str
    code: str
    parameters: Mapping[str, Any]
    folder: Path | None = None
    """Where the run keeps its checkpoints and epochs.json."""

    @property
    def name(self) -> str:
        """What a list calls it."""
        return self.model if self.seed is None else f"{self.model}-{self.seed}"


@dataclass(frozen=True)
class Finished:
    """A run that came to its end. seconds: by stage, `total` among them."""

    figures: Mapping[str, Figures]
    seconds: Figures
    epoch: int | None = None
    curves: list[Figures] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    report: Path | None = None
    choices: Mapping[str, Any] = field(default_factory=dict)


def started(request: Request, command: str, code: str) -> Started:
    """A run of training.run."""
    configuration, ratings, split = request.configuration, request.ratings, request.split
    return describe(
        ratings, split, command, configuration.name, configuration.seed, code,
        configuration.model_dump(mode="json"), request.folder,
    )  # fmt: skip


def describe(
    ratings: Ratings,
    split: Split,
    command: str,
    model: str,
    seed: int | None,
    code: str,
    parameters: Mapping[str, Any],
    folder: Path | None = None,
) -> Started:
    """A run on these rows."""
    return Started(
        command=command,
        model=model,
        seed=seed,
        data=ratings.origin.source,
        data_digest=ratings.digest,
        protocol=split.protocol,
        split_digest=split.digest,
        code=code,
        parameters=parameters,
        folder=folder,
    )


def finished(report: RunReport, path: Path) -> Finished:
    """What a report says, and the report itself, which lies at `path`."""
    folds = (report.validation, *report.tests)
    return Finished(
        figures={fold.fold: fold.of(fold.reference).metrics for fold in folds},
        seconds=report.seconds | {"total": sum(report.seconds.values())},
        epoch=report.chosen_epoch,
        curves=report.epochs,
        warnings=report.warnings,
        report=path,
    )
