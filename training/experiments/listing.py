"""Reads runs back from the record, and puts them in order: best first, per data and protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from training.errors import DataError
from training.experiments.recording import metric_name
from training.experiments.store import open_store, quietly, store_address

if TYPE_CHECKING:
    from mlflow.entities import Run

ORDERS = {"rmse": False, "ndcg": True}
"""What runs can be ordered by, and whether more is better."""
FIGURES = {"rmse": "rmse", "ndcg": "ndcg@100"}
PAGE = 500
APART = frozenset({"seed", "name"})
"""Parameters that do not make it another configuration."""


class Listed(BaseModel):
    """A run as the record has it. outcome: running, finished, interrupted, diverged or failed.

    figures: by fold, then name. started: Unix seconds.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    name: str
    command: str
    model: str
    seed: int | None
    data: str
    protocol: str
    split_digest: str
    code: str
    outcome: str
    why: str
    warnings: list[str]
    started: float
    seconds: float | None
    epoch: int | None
    figures: dict[str, dict[str, float]]
    parameters: dict[str, str]

    def figure(self, by: str, fold: str | None = None) -> float | None:
        """rmse or ndcg of a fold, by default the first test fold; None if it has none."""
        tests = sorted((name for name in self.figures if name.startswith("test")), reverse=True)
        name = fold or (tests[0] if tests else "")
        return self.figures.get(name, {}).get(FIGURES[by])


def listed_runs(
    state: Path, *, data: str | None = None, protocol: str | None = None, last: int | None = None
) -> list[Listed]:
    """Runs of the record, newest first. Raises DataError if it cannot be read."""
    try:
        client = open_store(state)
        with quietly():
            names = {e.experiment_id for e in client.search_experiments(max_results=PAGE)}
            runs = list(_pages(client, sorted(names)))
    except Exception as error:  # MLflow's own, its store's, a server's: a person must see to it
        problem = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(
            f"The experiment record at {store_address(state)} cannot be read: {problem}"
        ) from None
    found = [_listed(run) for run in runs if "command" in run.data.tags]
    wanted = [run for run in found if data in (None, run.data) and protocol in (None, run.protocol)]
    return sorted(wanted, key=lambda run: run.started, reverse=True)[:last]


def ranked(runs: Iterable[Listed], by: str) -> dict[tuple[str, str], list[Listed]]:
    """The runs of each data and protocol, best first; those without the figure come last."""

    def order(run: Listed) -> tuple[float, float]:
        value = run.figure(by)
        worst = value is None
        signed = 0.0 if value is None else -value if ORDERS[by] else value
        return (float(worst), signed)

    def place(run: Listed) -> tuple[str, str]:
        return run.data, run.protocol

    together = groupby(sorted(runs, key=place), place)
    return {where: sorted(group, key=order) for where, group in together}


def differing(runs: Sequence[Listed]) -> dict[str, list[str | None]]:
    """Parameters that are not the same in all runs: name -> the value in each, None if absent."""
    names = dict.fromkeys(name for run in runs for name in run.parameters)
    values = {name: [run.parameters.get(name) for run in runs] for name in names}
    return {
        name: each
        for name, each in values.items()
        if len(set(each)) > 1 and name not in APART and not name.startswith("choices.")
    }


def _pages(client: Any, experiments: list[str]) -> Iterable[Run]:
    token = None
    while experiments:
        page = client.search_runs(experiments, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _listed(run: Run) -> Listed:
    tags, metrics = run.data.tags, run.data.metrics
    return Listed(
        run_id=run.info.run_id,
        name=run.info.run_name,
        **{name: tags[name] for name in ("command", "model", "data", "protocol")},
        split_digest=tags["split_digest"],
        code=tags["code"],
        seed=int(tags["seed"]) if "seed" in tags else None,
        outcome=tags.get("outcome", "running"),
        why=tags.get("why", ""),
        warnings=tags.get("warnings", "").splitlines(),
        started=run.info.start_time / 1000,
        seconds=metrics.get("seconds.total"),
        epoch=int(metrics["chosen_epoch"]) if "chosen_epoch" in metrics else None,
        figures=_figures(metrics),
        parameters=dict(run.data.params),
    )


def _figures(metrics: dict[str, float]) -> dict[str, dict[str, float]]:
    """Metrics named fold.figure that are numbers, by fold."""
    figures: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        fold, _, figure = name.partition(".")
        if math.isfinite(value) and (fold == "validation" or fold.startswith("test")):
            figures.setdefault(fold, {})[figure.replace(metric_name("@"), "@")] = value
    return figures
