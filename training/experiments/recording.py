"""Writes a run into the record while it happens: begun, and then finished or not.

    with recorded(started, state, say) as recording:
        ...
        recording.finish(finished)

A block that ends without `finish` was interrupted; one that raises has diverged, was interrupted or
has failed, and is marked so, with the epochs it came to. The record must never lose a run: whatever
goes wrong in it is told in one sentence, and the run goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.errors import TrainingDiverged
from training.experiments.entry import Figures, Finished, Started
from training.experiments.store import open_store, quietly
from training.fitting.watch import EPOCHS
from training.flat_settings import flattened

if TYPE_CHECKING:
    from mlflow import MlflowClient

Say = Callable[[str], None]
STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
MOST_AT_ONCE = {"metrics": 1000, "params": 100}
LONGEST = 5000  # characters of a value; MLflow takes 6,000


@contextmanager
def recorded(run: Started, state: Path, say: Say) -> Iterator[Recording]:
    """Record what happens inside; exceptions of the run itself pass through."""
    recording = Recording(state, say)
    recording.begin(run)
    try:
        yield recording
    except KeyboardInterrupt:
        recording.end("interrupted")
        raise
    except TrainingDiverged as error:
        recording.end("diverged", str(error))
        raise
    except BaseException as error:
        recording.end("failed", f"{type(error).__name__}: {error}")
        raise
    else:
        recording.end("finished" if recording.finished else "interrupted")


class Recording:
    """One run in the record; every method returns whatever happens to the store."""

    def __init__(self, state: Path, say: Say) -> None:
        self._state = state
        self._say = say
        self._store: tuple[MlflowClient, str] | None = None
        self._run: Started | None = None
        self._told = False
        self.finished = False

    def begin(self, run: Started) -> None:
        """Open the store and enter the run with all that is known of it."""
        with self._safely():
            client = open_store(self._state)
            experiment = _experiment(client, f"{run.data} {run.protocol}")
            entered = client.create_run(experiment, tags=_tags(run), run_name=run.name)
            self._store, self._run = (client, entered.info.run_id), run
            self._parameters(dict(flattened(run.parameters)))

    def finish(self, finished: Finished) -> None:
        """Enter figures, curves and the report of a run that came to its end."""
        self.finished = True
        with self._safely():
            figures = {
                f"{fold}.{name}": value
                for fold, values in finished.figures.items()
                for name, value in values.items()
            }
            figures |= {f"seconds.{name}": value for name, value in finished.seconds.items()}
            if finished.epoch is not None:
                figures["chosen_epoch"] = finished.epoch
            self._metrics([figures])
            self._epochs(finished.curves, finished.warnings)
            self._parameters(dict(flattened(finished.choices, "choices.")))
            if finished.report is not None:
                self._artifact(finished.report)

    def end(self, how: str, why: str = "") -> None:
        """Close the run: finished, interrupted, diverged or failed, and why."""
        with self._safely():
            if not self.finished:
                self._unfinished()
            if self._store is not None:
                client, run_id = self._store
                for tag, value in {"outcome": how, "why": why}.items():
                    if value:
                        client.set_tag(run_id, tag, value[:LONGEST])
                client.set_terminated(run_id, STATUS[how])

    def _unfinished(self) -> None:
        """Enter the epochs that a run which will have no report came to."""
        if self._run is None or self._run.folder is None:
            return
        for path in sorted(self._run.folder.rglob(EPOCHS)):
            kept = json.loads(path.read_text())
            self._epochs(kept["epochs"], kept["warnings"])
            self._artifact(path)

    def _epochs(self, curves: list[Figures], warnings: list[str]) -> None:
        named = [{f"epoch.{n}": v for n, v in e.items() if n != "epoch"} for e in curves]
        self._metrics(named, first_step=1)
        if warnings and self._store is not None:
            client, run_id = self._store
            client.set_tag(run_id, "warnings", "\n".join(warnings)[:LONGEST])

    def _metrics(self, steps: list[Figures], first_step: int = 0) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._log("metrics", [
            Metric(metric_name(name), value, now, step)
            for step, figures in enumerate(steps, start=first_step)
            for name, value in figures.items()
        ])  # fmt: skip

    def _parameters(self, parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        self._log("params", [Param(name, value[:LONGEST]) for name, value in parameters.items()])

    def _log(self, kind: str, entries: list[Any]) -> None:
        if self._store is None:
            return
        client, run_id = self._store
        most = MOST_AT_ONCE[kind]
        for start in range(0, len(entries), most):
            some = {kind: entries[start : start + most]}
            client.log_batch(run_id, some.get("metrics", ()), some.get("params", ()))

    def _artifact(self, path: Path) -> None:
        if self._store is not None:
            client, run_id = self._store
            client.log_artifact(run_id, str(path))

    @contextmanager
    def _safely(self) -> Iterator[None]:
        """Whatever MLflow, its store or the network may do: say it once and go on."""
        try:
            with quietly():
                yield
        except Exception as error:  # a record that cannot be kept must not cost a trained model
            self._store = None
            if not self._told:
                first = str(error).strip().partition("\n")[0] or type(error).__name__
                self._say(f"This run is not, or not wholly, in the experiment record: {first}")
            self._told = True


def metric_name(figure: str) -> str:
    """A figure's name as MLflow allows it, which has no @."""
    return figure.replace("@", "_at_")


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id) if found else str(client.create_experiment(name))


def _tags(run: Started) -> dict[str, str]:
    names = ("command", "model", "data", "data_digest", "protocol", "split_digest", "code")
    tags = {name: str(getattr(run, name)) for name in names}
    return tags if run.seed is None else tags | {"seed": str(run.seed)}
