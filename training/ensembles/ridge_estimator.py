"""The closed-form member as a run fits it: all of it in seconds, once there is a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from models.networks.ridge_fold_in import RidgeFoldIn
from training.ensembles.member import RidgeSettings
from training.ensembles.ridge_fold_in import Noise, Prior, choose_noise, fit_prior, ridge_weights
from training.fitting.watch import EpochRecord
from training.request import Request
from training.teachers.faculty import Faculty, Step


@dataclass(frozen=True)
class FittedRidge:
    """The network, and the noise that was chosen for it."""

    network: RidgeFoldIn
    noise: Noise
    epochs: None = None
    history: Sequence[EpochRecord] = ()
    warnings: list[str] = field(default_factory=list)


class RidgeEstimator:
    """A `training.fitting.estimator.Estimator` on the teacher's item factors."""

    def __init__(self, request: Request, faculty: Faculty, settings: RidgeSettings) -> None:
        self.request = request
        self.faculty = faculty
        self.settings = settings

    def choose(self) -> FittedRidge:
        """The noise that rates the validation rows best."""
        ratings, fold = self.request.ratings, self.request.split.validation
        prior = self._prior("choose")
        visible, hidden = ratings.histories(fold.visible), ratings.histories(fold.hidden)
        return self._fitted("choose", prior, choose_noise(prior, visible, hidden))

    def refit(self, chosen: FittedRidge) -> FittedRidge:
        """The chosen noise with the teacher of all training rows."""
        if not self.request.refits:
            return chosen
        return self._fitted("refit", self._prior("refit"), chosen.noise)

    def _prior(self, step: Step) -> Prior:
        teacher = self.faculty.teacher(step)
        if teacher is None:
            raise ValueError("A ridge-fold-in member has no teacher to take item factors from.")
        histories = self.request.ratings.histories(self.faculty.rows(step))
        return fit_prior(teacher, histories, self.settings.implicit_ridge)

    def _fitted(self, step: Step, prior: Prior, noise: Noise) -> FittedRidge:
        histories = self.request.ratings.histories(self.faculty.rows(step))
        return FittedRidge(RidgeFoldIn(ridge_weights(prior, noise, histories)).eval(), noise)
