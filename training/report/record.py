"""Every figure of one run, and the file it is kept in.

Reports outlive versions: fields that came later have defaults, and `lacks` tells a figure that a
run did not have from one that its version did not write.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from models.manifest import DataRecord, RatingScale
from training.ensembles.ensemble_report import EnsembleReport
from training.errors import DataError
from training.evaluation.examples import Example
from training.evaluation.reliability import Reliability
from training.evaluation.scores import Comparison
from training.evaluation.star_errors import StarErrors

REPORT, PAGE = "report.json", "report.html"
RATINGLESS_PROTOCOLS = frozenset({"users-liked"})
"""Protocols that report no stars."""


class RunReport(BaseModel):
    """One run: what was fitted on what, what was chosen, and every held-out figure."""

    model_config = ConfigDict(frozen=True)

    configuration: dict[str, Any]
    data: DataRecord
    protocol: str
    split_seed: int
    split_digest: str
    seed: int
    fit_rows: int
    refit_rows: int
    chosen_epoch: int | None
    epochs: list[dict[str, float]]
    warnings: list[str]
    ensemble: EnsembleReport | None = None
    validation: Comparison
    tests: list[Comparison]
    reliability: list[Reliability] = []
    seconds: dict[str, float]
    code_version: str
    created_at: str | None = None
    """When the last figure was there: ISO 8601, UTC."""
    rating_scale: RatingScale | None = None
    star_errors: list[StarErrors] = []
    examples: list[Example] = []

    @property
    def name(self) -> str:
        """What the run's configuration is called."""
        return str(self.configuration["name"])

    @property
    def stars(self) -> bool:
        """Whether the protocol reports predicted stars."""
        return self.protocol not in RATINGLESS_PROTOCOLS

    @property
    def gaps(self) -> dict[str, float]:
        """By network: how far RMSE on validation rows was above training's at the chosen epoch."""
        found = {self.name: gap_at(self.chosen_epoch, self.epochs)}
        for member in self.ensemble.members if self.ensemble else []:
            found[member.name] = gap_at(member.chosen_epoch, member.epochs)
        return {name: gap for name, gap in found.items() if gap is not None}

    def lacks(self, field: str) -> bool:
        """Whether the report was written by a version that did not know the field."""
        return field not in self.model_fields_set


def gap_at(chosen: int | None, epochs: Sequence[dict[str, float]]) -> float | None:
    """Validation RMSE minus training RMSE of the chosen epoch; None if it has not both."""
    for epoch in epochs:
        if epoch["epoch"] == chosen and epoch.keys() >= {"validation_rmse", "train_rmse"}:
            return epoch["validation_rmse"] - epoch["train_rmse"]
    return None


def write_report(report: RunReport, folder: Path) -> Path:
    """Write report.json into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT
    path.write_text(report.model_dump_json(indent=2))
    return path


def read_report(path: Path) -> RunReport:
    """Read a report.json. Raises DataError if it is none."""
    try:
        return RunReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "its beginning"
        raise DataError(
            f"{path} is not a report of a run ({place}: {first['msg']}); name the folder that "
            "make train or make evaluate wrote it to."
        ) from None
