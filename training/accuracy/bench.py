"""Where a cell is measured: its rows, how its predictors are scored, what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.accuracy.plan import SPLIT_SEED, Cell
from training.evaluation.evaluate import Scores, Transductive, evaluate
from training.evaluation.predictor import Predictor
from training.ratings import Ratings
from training.report import RunReport
from training.split import Fold, Split

LIKED_FROM = 4.0


@dataclass(frozen=True)
class Measured:
    """What came out: scores of every test fold, and how the model came about.

    choices: what was chosen on validation, and on which grid. train_seconds: choosing the epoch,
    teachers and the refit; search of settings and scoring excluded. report: of a run of our own.
    """

    scores: tuple[Scores, ...]
    epoch: int | None
    train_seconds: float
    choices: dict[str, Any] = field(default_factory=dict)
    report: RunReport | None = None


@dataclass(frozen=True)
class Bench:
    """A cell, its ratings split, where state is kept, and how to tell a person about it.

    recipe_of gives the recipe of any cell: what was kept by another recipe is not used.
    """

    cell: Cell
    ratings: Ratings
    split: Split
    state: Path
    say: Callable[[str], None]
    recipe_of: Callable[[Cell], str]

    @property
    def seed(self) -> int:
        """The training seed; a model that draws nothing is given one and ignores it."""
        return self.cell.seed or 1

    @property
    def stars(self) -> bool:
        """Whether the protocol reports rating figures."""
        return self.cell.protocol != "users-liked"

    @property
    def refits(self) -> bool:
        """Whether there are more rows to fit on once the choices are made."""
        return not np.array_equal(self.split.fit, self.split.refit)

    def folder_of(self, cell: Cell) -> Path:
        """Where checkpoints and predictions of a cell go, apart by recipe."""
        name = f"{cell.name.replace(':', '-').replace('/', '-')}-{self.recipe_of(cell)[:12]}"
        return self.state / "accuracy" / name

    def score(
        self, predictor: Predictor, fold: Fold, *, stars: bool = True, ranking: bool = True
    ) -> Scores:
        """Every figure of a predictor on a fold, by the formulas all models share."""
        return evaluate(
            predictor, self.ratings, fold,
            liked_from=LIKED_FROM, seed=SPLIT_SEED, stars=stars and self.stars, ranking=ranking,
        )  # fmt: skip

    def score_tests(
        self, predictor: Predictor | Sequence[Predictor], *, ranking: bool = True
    ) -> tuple[Scores, ...]:
        """Figures on every test fold, of one predictor or of one for each fold."""
        folds = self.split.tests
        each = predictor if isinstance(predictor, Sequence) else [predictor] * len(folds)
        return tuple(
            self.score(p, fold, ranking=ranking) for p, fold in zip(each, folds, strict=True)
        )

    def ratings_of(self, predictor: Predictor, fold: Fold) -> NDArray[np.float32]:
        """float32 [T]: predicted ratings of the fold's hidden rows, by user, then item."""
        visible, hidden = self.ratings.histories(fold.visible), self.ratings.histories(fold.hidden)
        if isinstance(predictor, Transductive):
            predictor = predictor.for_users(np.arange(len(hidden)))
        rated = predictor.rate(visible, hidden.rows, hidden.items)
        if rated is None:
            raise ValueError(f"{predictor.name} does not rate.")
        return rated
