"""The teachers of a run: one for the rows of each step, shared by all that learn in it.

Where there is more than one core, the teacher of the refit is fitted beside that of the first step,
since neither needs anything of the other. Finished teachers are kept (`teacher_fit`), so a resumed
run, or one that learns from the same teachers, does not wait for them again.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Literal, Self

from training.config import Configuration
from training.fitting.time_effects import ratings_as_of
from training.request import Request
from training.split import Rows
from training.teachers.teacher import Teacher, Tutor
from training.teachers.teacher_fit import TeacherFit
from training.teachers.teaching import tutor_of

Step = Literal["choose", "refit"]


class Faculty:
    """A context: whatever happens in it, no fit goes on behind it."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._fits: dict[Step, TeacherFit] = {}
        self._teachers: dict[Step, Teacher] = {}
        self._tutors: dict[str, Tutor | None] = {}

    def __enter__(self) -> Self:
        try:
            self._begin("choose")
            if self.request.refits and _cores() > 1:
                self._begin("refit")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def rows(self, step: Step) -> Rows:
        """The rows that are fitted on in a step."""
        split = self.request.split
        return split.fit if step == "choose" else split.refit

    def teacher(self, step: Step) -> Teacher | None:
        """The teacher fitted to the rows of a step, waited for; None if none is configured.

        Raises TrainingError if it could not be fitted.
        """
        if self.request.configuration.training.teacher is None:
            return None
        if step not in self._teachers:
            self._begin(step)
            self._teachers[step] = self._fits[step].result()
            self._fits.pop(step).stop()
        return self._teachers[step]

    def tutor(self, step: Step, configuration: Configuration) -> Tutor | None:
        """What a network of this configuration is taught in a step; shared by those alike."""
        taught = configuration.training
        key = repr((step, taught.teacher, taught.ranking_teacher))
        if key not in self._tutors:
            teacher = self.teacher(step)
            self._tutors[key] = tutor_of(
                self.request.ratings, self.rows(step), configuration, teacher
            )
        return self._tutors[key]

    def _begin(self, step: Step) -> None:
        """Start a fit, unless it has started."""
        request = self.request
        settings, rows = request.configuration.training, self.rows(step)
        if settings.teacher is None or step in self._fits:
            return
        told = ratings_as_of(request.ratings, rows, settings.time_effects)
        self._fits[step] = TeacherFit(
            told, rows, settings.teacher, request.configuration.seed, request.state
        )

    def _stop(self) -> None:
        for fit in self._fits.values():
            fit.stop()
        self._fits.clear()


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
