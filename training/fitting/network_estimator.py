"""One HybridVAE as a run fits it. Fits that are over are kept, and a resumed run takes them up."""

from __future__ import annotations

from dataclasses import replace

from models.networks.collapse import collapsed
from training.fitting.finished import keep_finished, take_up
from training.fitting.initial import build_network
from training.fitting.trainer import Fitted, choose, refit
from training.request import Request
from training.teachers.faculty import Faculty, Step

FINISHED: dict[Step, str] = {"choose": "chosen.pt", "refit": "refitted.pt"}


class NetworkEstimator:
    """A `training.fitting.estimator.ServedEstimator` in the request's folder."""

    def __init__(self, request: Request, faculty: Faculty) -> None:
        self.request = request
        self.faculty = faculty

    def choose(self) -> Fitted | None:
        """Follow the validation fold and keep the best epoch. Raises TrainingDiverged."""
        request, split = self.request, self.request.split
        return self._taken_up("choose") or self._finished(
            "choose",
            choose(
                request.ratings, split.fit, split.validation, request.configuration,
                request.folder, request.say, resume=request.resume, progress=request.progress,
                tutor=self.faculty.tutor("choose", request.configuration),
            ),
        )  # fmt: skip

    def refit(self, chosen: Fitted) -> Fitted | None:
        """As many epochs on all training rows; its history and warnings are the chosen one's."""
        request = self.request
        if not request.refits:
            return chosen
        return self._taken_up("refit") or self._finished("refit", self._refitted(chosen))

    def _refitted(self, chosen: Fitted) -> Fitted:
        request = self.request
        final = refit(
            request.ratings, request.split.refit, chosen, request.configuration, request.say,
            progress=request.progress,
            tutor=self.faculty.tutor("refit", request.configuration),
        )  # fmt: skip
        return replace(final, history=chosen.history, warnings=chosen.warnings)

    def report(self, final: Fitted) -> None:
        """None: it has no parts."""
        return None

    def _taken_up(self, step: Step) -> Fitted | None:
        """What an earlier run finished, if this one resumes it."""
        path, request = self.request.folder / FINISHED[step], self.request
        if not request.resume:
            path.unlink(missing_ok=True)
        if not path.exists():
            return None
        rows = self.faculty.rows(step)
        untrained = build_network(request.ratings, rows, request.configuration)
        return take_up(path, collapsed(untrained))

    def _finished(self, step: Step, fitted: Fitted) -> Fitted | None:
        if fitted.interrupted:
            return None
        keep_finished(fitted, self.request.folder / FINISHED[step])
        return fitted
