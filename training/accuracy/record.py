"""results/accuracy.json: what was measured, kept row by row.

    rows   one for each test fold of a cell; null where a model does not answer
    runs   by cell: the recipe a row was made by, the code revision, the choices made

The file is replaced whole under a lock after every cell, so it is never half written and two
commands may fill different parts of it at once. A cell counts as measured as long as its recipe,
a digest of settings and code (training/accuracy/recipe.py), is still the same.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.accuracy.plan import MODELS, TABLE, Cell
from training.errors import DataError
from training.evaluation.scores import FIGURES

# The figures of an evaluation that a row keeps, and what it calls them.
FIELDS = {name: "coverage80" if name == "coverage" else name for name in FIGURES}
del FIELDS["width"]


class Row(BaseModel):
    """The figures of one trained model on one test fold.

    fold_in: percent of a held-out user's ratings that is visible; null where users are not held
    out. served: whether the service can serve it. epoch: the chosen one. train_seconds: choosing
    the epoch, teachers and the refit; search of settings and scoring excluded. code: the revision
    it ran from, with + if its tree had changes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    data: str
    protocol: str
    fold_in: int | None
    split_seed: int
    split_digest: str
    model: str
    served: bool
    seed: int | None
    epoch: int | None
    rmse: float | None
    mse: float | None
    mae: float | None
    ndcg_100: float | None = Field(alias="ndcg@100")
    recall_20: float | None = Field(alias="recall@20")
    recall_50: float | None = Field(alias="recall@50")
    precision_10: float | None = Field(alias="precision@10")
    coverage80: float | None
    train_seconds: float
    code: str

    @property
    def cell(self) -> Cell:
        """The cell this is a row of."""
        return Cell(self.data, self.protocol, self.model, self.seed)


class Run(BaseModel):
    """How a cell was measured: by which recipe, and what was chosen on validation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    code: str
    choices: dict[str, Any]


class Content(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    rows: list[Row] = []
    runs: dict[str, Run] = {}


class Record:
    """The file at `path`, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Content:
        """Everything measured so far. Raises DataError if the file is not one of these."""
        try:
            return Content.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return Content()
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"]) or "the file"
            raise DataError(
                f"{self.path} is not a record of accuracy ({place}: {problem['msg']}); move it "
                "away to start anew."
            ) from None

    def recipe_of(self, cell: Cell) -> str | None:
        """The recipe the cell was measured by; None if it was not."""
        run = self.read().runs.get(cell.name)
        return run.recipe if run else None

    def put(self, cell: Cell, rows: Sequence[Row], run: Run) -> None:
        """Replace what is known of a cell."""
        if any(row.cell != cell for row in rows):
            raise ValueError(f"A row does not belong to {cell.name}.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            content = self.read()
            kept = [row for row in content.rows if row.cell != cell]
            content.rows = sorted([*kept, *rows], key=_order)
            content.runs = dict(sorted((content.runs | {cell.name: run}).items()))
            self._replace(content)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = os.open(self.path.parent, os.O_RDONLY)  # locked itself: no lock file to leave
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _replace(self, content: Content) -> None:
        half = self.path.with_name(f".{self.path.name}.half")
        with half.open("w") as file:
            json.dump(content.model_dump(mode="json"), file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, self.path)


def _order(row: Row) -> tuple[Any, ...]:
    place = (row.data, row.protocol)
    table = TABLE.index(place) if place in TABLE else len(TABLE)
    return (table, *place, -(row.fold_in or 0), MODELS.index(row.model), row.seed or 0)
