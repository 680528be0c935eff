"""What the processes of a fit are told to do, and what they tell of it: files of a folder.

The folder lives as long as the fit; shares of the ratings lie beside (`share_files`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

import training.errors
from training.config import Configuration
from training.errors import TrainingError

ORDERS, CHOSEN, FITTED, SAID = "orders.json", "chosen.pt", "fitted.pt", "said.txt"
RENDEZVOUS = "rendezvous"


class Orders(BaseModel):
    """One fit: choose the epoch, or fit again as was chosen.

    folder: where checkpoints go. address: where processes of several machines meet, under `name`;
    None: at a file. digest: of what must be the same on every machine.
    """

    model_config = ConfigDict(frozen=True)

    step: Literal["choose", "refit"]
    configuration: Configuration
    folder: Path
    resume: bool
    progress: bool
    save_every_s: float
    processes: int
    machines: int
    machine: int
    address: tuple[str, int] | None
    name: str
    digest: str

    def write(self, place: Path) -> None:
        """Leave the orders in the fit's folder."""
        (place / ORDERS).write_text(self.model_dump_json())

    @staticmethod
    def read(place: Path) -> Orders:
        """Take the orders that `write` left."""
        return Orders.model_validate_json((place / ORDERS).read_text())


def write_refusal(error: TrainingError, place: Path, number: int) -> None:
    """Leave what a person can put right for the process that gave the orders."""
    content = {"kind": type(error).__name__, "sentence": str(error)}
    _refusal(place, number).write_text(json.dumps(content))


def read_refusal(place: Path, number: int) -> TrainingError | None:
    """What the process left, if it did."""
    path = _refusal(place, number)
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    kind: type[TrainingError] = getattr(training.errors, content["kind"])
    return kind(content["sentence"])


def _refusal(place: Path, number: int) -> Path:
    return place / f"refused-{number}.json"
