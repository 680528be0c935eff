"""Early warnings: what a person watching the curves would call out, said while training runs.

Each warning is raised once and kept for the report, with when it had passed if it did: a rate that
is still rising makes many a curve stand still for a while. Only NaN or Inf stops the run, before an
optimiser's step or a checkpoint can be made of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import TrainingDiverged

EPOCHS = "epochs.json"
PLATEAU_BEFORE_EPOCH = 20
PLATEAU_EPOCHS = 5
COLLAPSED_KL = 0.01
WIDEST_GAP = 0.15
LARGEST_GRADIENT = 10.0


@dataclass(frozen=True)
class EpochRecord:
    """The figures of one epoch, counted from 1."""

    epoch: int
    figures: dict[str, float]

    @property
    def row(self) -> dict[str, float]:
        """The figures and the epoch's number, as reports and files keep them."""
        return {"epoch": self.epoch} | self.figures


@dataclass
class Watch:
    """Keeps every epoch's figures and the warnings they gave rise to.

    path: where both are also written as they come, for a run that never reports; None: nowhere.
    """

    say: Callable[[str], None]
    monitor: str = "validation_rmse"
    lower_is_better: bool = True
    history: list[EpochRecord] = field(default_factory=list)
    warnings: dict[str, str] = field(default_factory=dict)
    path: Path | None = None
    _raised: dict[str, str] = field(default_factory=dict)
    _passed: set[str] = field(default_factory=set)

    def check_finite(self, what: str, value: float, epoch: int) -> None:
        """Raise TrainingDiverged if a value, which `what` names, is not a finite number."""
        if math.isfinite(value):
            return
        self.warnings["diverged"] = f"{what} became {value} in epoch {epoch}."
        self._write()
        raise TrainingDiverged(
            f"{what} became {value} in epoch {epoch}; the best checkpoint before it, if an epoch "
            "was finished, is kept. Lower the learning rate or the gradient clip."
        )

    def record(self, epoch: EpochRecord) -> None:
        """Keep an epoch's figures; say each kind of warning once."""
        self.history.append(epoch)
        found = self._found(epoch)
        for kind in self._raised.keys() - found.keys() - self._passed:
            self._passed.add(kind)
            self.warnings[kind] = f"{self._raised[kind]} It had passed by epoch {epoch.epoch}."
        for kind in found.keys() & self._passed:
            self._passed.discard(kind)
            self.warnings[kind] = self._raised[kind]
        for kind, text in found.items():
            if kind not in self._raised and not (kind == "plateau" and _late(epoch)):
                self._raised[kind] = self.warnings[kind] = text
                self.say(f"Early warning: {text}")
        self._write()

    def _write(self) -> None:
        if self.path is not None:
            epochs = [record.row for record in self.history]
            content = {"epochs": epochs, "warnings": list(self.warnings.values())}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(content, indent=1))

    def _found(self, epoch: EpochRecord) -> dict[str, str]:
        at, get = f"epoch {epoch.epoch}", epoch.figures.get
        found = {}
        if self._plateaued():
            found["plateau"] = (
                f"{self.monitor} has not improved for {PLATEAU_EPOCHS} epochs by {at}, before "
                f"epoch {PLATEAU_BEFORE_EPOCH}."
            )
        if get("kl", math.inf) < COLLAPSED_KL:
            found["collapse"] = (
                f"KL is {get('kl', 0):.4f} nats per latent dimension at {at}: the posterior "
                "collapses to the prior; lower the KL weight or give free bits."
            )
        gap = get("validation_rmse", 0.0) - get("train_rmse", math.inf)
        if gap > WIDEST_GAP:
            found["gap"] = (
                f"validation RMSE is {gap:.3f} above training RMSE at {at}: the network memorises."
            )
        if get("gradient_norm", 0.0) > LARGEST_GRADIENT:
            found["gradient"] = (
                f"the mean gradient norm is {get('gradient_norm', 0):.1f} at {at}, above "
                f"{LARGEST_GRADIENT:.0f}, before clipping."
            )
        return found

    def _plateaued(self) -> bool:
        values = [e.figures[self.monitor] for e in self.history if self.monitor in e.figures]
        if len(values) <= PLATEAU_EPOCHS:
            return False
        before, lately = values[:-PLATEAU_EPOCHS], values[-PLATEAU_EPOCHS:]
        if self.lower_is_better:
            return min(lately) >= min(before)
        return max(lately) <= max(before)


def _late(epoch: EpochRecord) -> bool:
    """Whether standing still is what one expects by now."""
    return epoch.epoch >= PLATEAU_BEFORE_EPOCH
