"""The blend: members' predicted ratings, weighted on validation. Measured, never served.

Some of its members know users by who they are, so they cannot answer for a history in a request
(DESIGN section 3): myfm, a row of the table, and those of training.accuracy.members, which are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.histories import Histories
from training.accuracy.bench import Bench, Measured
from training.accuracy.kept import Kept, read_kept
from training.accuracy.members import fitted_members
from training.accuracy.plan import Cell
from training.ensembles.blending import Blend, fit_blend
from training.errors import TrainingError
from training.evaluation import metrics

MEMBERS = ("myfm", "best", "ensemble")
NEEDED = ("myfm", "best")


class MembersMissing(TrainingError):
    """A blend needs predictions that were not measured here."""


def measure_blend(bench: Bench) -> Measured:
    """Blend what the members of the same seed predicted, with weights fitted on validation."""
    members = _members(bench) | fitted_members(bench)
    hidden = bench.ratings.histories(bench.split.validation.hidden)
    blend = fit_blend(np.stack([kept.validation for kept in members.values()]), hidden.ratings)
    predictors = [
        _Blended(rated, bench.ratings.histories(fold.hidden))
        for fold, rated in zip(
            bench.split.tests, _blended(blend, list(members.values())), strict=True
        )
    ]
    scores = bench.score_tests(predictors, ranking=False)
    seconds = sum(kept.train_seconds for kept in members.values())
    weights = dict(zip(members, np.round(blend.weights, 4).tolist(), strict=True))
    alone = {name: _rmse(bench, kept) for name, kept in members.items()}
    return Measured(scores, None, seconds, {"weights": weights, "rmse": alone})


def _rmse(bench: Bench, kept: Kept) -> dict[str, float]:
    """Of one member alone, on every fold: shown beside the blend, used for no choice."""
    folds = (bench.split.validation, *bench.split.tests)
    return {
        fold.name: round(metrics.rmse(bench.ratings.histories(fold.hidden).ratings, rated), 4)
        for fold, rated in zip(folds, (kept.validation, *kept.tests), strict=True)
    }


def _blended(blend: Blend, members: Sequence[Kept]) -> list[NDArray[np.float32]]:
    folds = zip(*(kept.tests for kept in members), strict=True)
    return [blend.of(np.stack(rated)) for rated in folds]


def _members(bench: Bench) -> dict[str, Kept]:
    cell = bench.cell
    cells = {name: Cell(cell.data, cell.protocol, name, cell.seed) for name in MEMBERS}
    found: dict[str, Kept] = {}
    for name, member in cells.items():
        kept = _kept(bench, member, needed=name in NEEDED)
        if kept is not None:
            found[name] = kept
        elif name in NEEDED:
            raise MembersMissing(
                f"{cell.name} needs the predictions of {member.name}, which are not here: "
                f"make accuracy ONLY={member.name} AGAIN=1 measures them."
            )
    return found


def _kept(bench: Bench, member: Cell, *, needed: bool) -> Kept | None:
    try:
        return read_kept(bench.folder_of(member))
    except TrainingError:  # there is no such configuration
        if needed:
            raise
        return None


@dataclass(frozen=True)
class _Blended:
    """Blended ratings of a fold's hidden rows, by user, then item; it is Transductive."""

    ratings: NDArray[np.float32]
    hidden: Histories
    name: str = "blend"

    def for_users(self, users: NDArray[np.int64]) -> _BlendedForUsers:
        """The ratings of a batch of users."""
        numbered = Histories(self.hidden.items, self.ratings, self.hidden.offsets)
        return _BlendedForUsers(numbered.take(users))

    def rate(self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        """None: it knows users, not histories."""
        return None

    def score(self, histories: Histories) -> None:
        """None: it does not rank."""
        return None


@dataclass(frozen=True)
class _BlendedForUsers:
    batch: Histories
    name: str = "blend"

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The ratings, which are asked for in the order they were blended in."""
        if not (np.array_equal(rows, self.batch.rows) and np.array_equal(items, self.batch.items)):
            raise KeyError("the blend was not made for these pairs")
        return self.batch.ratings

    def score(self, histories: Histories) -> None:
        """None: it does not rank."""
        return None
