"""One HybridVAE as a run fits it, in this process or in several.

Fits that are over are kept, and a resumed run takes them up.
"""

from __future__ import annotations

from dataclasses import replace

from training.fitting.finished import keep_finished, take_up
from training.fitting.initial import blank_network
from training.fitting.processes import Processes
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
        return self._taken_up("choose") or self._finished("choose", self._chosen())

    def refit(self, chosen: Fitted) -> Fitted | None:
        """As many epochs on all training rows; its history and warnings are the chosen one's."""
        request = self.request
        if not request.refits:
            return chosen
        return self._taken_up("refit") or self._finished("refit", self._refitted(chosen))

    def _chosen(self) -> Fitted:
        request, split = self.request, self.request.split
        tutor = self.faculty.tutor("choose", request.configuration)
        if request.cluster.size > 1:
            return self._processes().choose(
                split.fit, split.validation, tutor, resume=request.resume
            )
        return choose(
            request.ratings, split.fit, split.validation, request.configuration, request.folder,
            request.say, resume=request.resume, progress=request.progress, tutor=tutor,
        )  # fmt: skip

    def _refitted(self, chosen: Fitted) -> Fitted:
        request, rows = self.request, self.request.split.refit
        tutor = self.faculty.tutor("refit", request.configuration)
        if request.cluster.size > 1:
            final = self._processes().refit(rows, chosen, tutor)
        else:
            final = refit(
                request.ratings, rows, chosen, request.configuration, request.say,
                progress=request.progress, tutor=tutor,
            )  # fmt: skip
        return replace(final, history=chosen.history, warnings=chosen.warnings)

    def _processes(self) -> Processes:
        request = self.request
        return Processes(
            request.cluster, request.ratings, request.configuration, request.folder, request.say,
            request.progress,
        )  # fmt: skip

    def report(self, final: Fitted) -> None:
        """None: it has no parts."""
        return None

    def _taken_up(self, step: Step) -> Fitted | None:
        """What an earlier run finished, if this one resumes it."""
        path, request = self.request.folder / FINISHED[step], self.request
        if not request.resume and request.cluster.leads:
            path.unlink(missing_ok=True)
        if not request.resume or not path.exists():
            return None
        return take_up(path, blank_network(request.ratings, request.configuration))

    def _finished(self, step: Step, fitted: Fitted) -> Fitted | None:
        if fitted.interrupted:
            return None
        if self.request.cluster.leads:
            keep_finished(fitted, self.request.folder / FINISHED[step])
        return fitted
