"""What a run fits, whatever it is: one network, a member of another kind, an ensemble of them.

The two steps of DESIGN, each on its own rows: choose on validation, then fit again with every
choice frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from models.networks.graphs import FoldInNetwork, Rater
from training.ensembles.ensemble_report import EnsembleReport
from training.fitting.watch import EpochRecord


class FittedModel(Protocol):
    """What came out of a step."""

    @property
    def network(self) -> Rater:
        """It answers for histories."""

    @property
    def epochs(self) -> int | None:
        """How many its weights have seen; None of what has no epochs of its own."""

    @property
    def history(self) -> Sequence[EpochRecord]:
        """The figures of its epochs."""

    @property
    def warnings(self) -> list[str]:
        """Early warnings, in sentences."""


class ServedModel(FittedModel, Protocol):
    """One that ranks as well."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def network(self) -> FoldInNetwork:
        """It answers for histories."""


F = TypeVar("F", bound=FittedModel)
S = TypeVar("S", bound=ServedModel)


class Estimator(Protocol[F]):
    """Fits one thing in two steps; either is None if it was interrupted."""

    def choose(self) -> F | None:
        """Fit on the fit rows, every choice made on the validation fold."""

    def refit(self, chosen: F) -> F | None:
        """Fit on all training rows as was chosen; `chosen` itself where there are no more."""


class ServedEstimator(Estimator[S], Protocol[S]):
    """One whose model a bundle may hold."""

    def report(self, final: S) -> EnsembleReport | None:
        """What its parts contributed on validation and cost to serve; None if it has no parts."""
