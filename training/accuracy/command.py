"""Measure what is planned and not yet measured, one cell after the other, each recorded at once.

A model that cannot be measured here (a peer that cannot be installed, a configuration that does not
exist) is told in one line, and the rest goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from training.accuracy.bench import LIKED_FROM, Bench, Measured
from training.accuracy.models import MODELS, recipe_of
from training.accuracy.plan import HELD_OUT_USERS, SPLIT_SEED, Cell
from training.accuracy.record import FIELDS, Record, Row, Run
from training.accuracy.revision import revision
from training.code_digest import ROOT
from training.errors import TrainingError
from training.evaluation.scores import Scores
from training.experiments.entry import Finished, Started, describe, finished
from training.experiments.recording import recorded
from training.ratings import Ratings
from training.report import write_report
from training.sources import SourceSettings, load_ratings
from training.split import Split, split_ratings

ROWS_COVERAGE = 0.8  # what the field coverage80 is about


@dataclass(frozen=True)
class Job:
    """What to measure, where from and where to.

    again: measure what is measured already. keep_older: rows made by other code or settings count
    as measured. state: folder of peers' environments, checkpoints and predictions.
    """

    cells: Sequence[Cell]
    record: Record
    state: Path
    sources: SourceSettings
    say: Callable[[str], None]
    again: bool = False
    keep_older: bool = False


def measure(job: Job) -> list[Cell]:
    """Fill the record; the cells that could not be measured, each told in one line."""
    failed: list[Cell] = []
    for (data, protocol), group in groupby(job.cells, lambda cell: (cell.data, cell.protocol)):
        due, impossible = _due(list(group), job)
        failed += impossible
        if not due:
            continue
        try:
            ratings = load_ratings(data, job.sources)
            split = split_ratings(
                ratings, protocol, SPLIT_SEED, liked_from=LIKED_FROM, settings=job.sources
            )
        except TrainingError as error:
            job.say(f"{data}:{protocol} is not measured: {error}")
            failed += due
            continue
        failed += [cell for cell in due if not _measured(cell, ratings, split, job)]
    return failed


def _due(cells: list[Cell], job: Job) -> tuple[list[Cell], list[Cell]]:
    """The cells still to measure, and those that cannot be."""
    due, impossible = [], []
    for cell in cells:
        try:
            before, now = job.record.recipe_of(cell), recipe_of(cell)
        except TrainingError as error:
            job.say(f"{cell.name} is not measured: {error}")
            impossible.append(cell)
            continue
        if job.again or before is None or (before != now and not job.keep_older):
            due.append(cell)
    return due, impossible


def _measured(cell: Cell, ratings: Ratings, split: Split, job: Job) -> bool:
    """Measure one cell and record it; False, and a line, if that cannot be done here."""
    bench = Bench(cell, ratings, split, job.state, job.say, recipes_for(cell, job))
    code, recipe, start = revision(ROOT), recipe_of(cell), time.monotonic()
    job.say(f"{cell.name} ...")
    try:
        with recorded(_begun(bench, code), job.state, job.say) as recording:
            found = MODELS[cell.model].measure(bench)
            recording.finish(_ended(bench, found))
    except TrainingError as error:
        job.say(f"{cell.name} is not measured: {error}")
        return False
    rows = [_row(cell, split, scores, found, code) for scores in found.scores]
    job.record.put(cell, rows, Run(recipe=recipe, code=code, choices=found.choices))
    job.say(f"{cell.name}: {_told(rows[0])} in {time.monotonic() - start:.0f} s")
    return True


def recipes_for(measured: Cell, job: Job) -> Callable[[Cell], str]:
    """By which recipe predictions of a cell are looked for: that of its row, if older ones stand.

    The cell that is being measured is made by the present recipe.
    """

    def standing(cell: Cell) -> str:
        before = job.record.recipe_of(cell) if job.keep_older and cell != measured else None
        return before or recipe_of(cell)

    return standing


def _begun(bench: Bench, code: str) -> Started:
    cell = bench.cell
    settings = MODELS[cell.model].settings(cell)
    return describe(
        bench.ratings, bench.split, "accuracy", cell.model, cell.seed, code, settings,
        bench.folder_of(cell),
    )  # fmt: skip


def _ended(bench: Bench, found: Measured) -> Finished:
    """A run of our own by its report; of others, what there is."""
    if found.report is not None:
        return finished(found.report, write_report(found.report, bench.folder_of(bench.cell)))
    figures = {scores.fold: scores.metrics for scores in found.scores}
    return Finished(figures, {"total": found.train_seconds}, found.epoch, choices=found.choices)


def _row(cell: Cell, split: Split, scores: Scores, found: Measured, code: str) -> Row:
    figures = scores.model_dump(mode="json")
    if figures["nominal_coverage"] != ROWS_COVERAGE:
        figures["coverage"] = None
    return Row.model_validate(
        {field: figures[name] for name, field in FIELDS.items()}
        | {
            "data": cell.data,
            "protocol": cell.protocol,
            "fold_in": _visible_percent(cell, scores.fold),
            "split_seed": split.seed,
            "split_digest": split.digest,
            "model": cell.model,
            "served": MODELS[cell.model].served,
            "seed": cell.seed,
            "epoch": found.epoch,
            "train_seconds": round(found.train_seconds, 1),
            "code": code,
        }
    )


def _visible_percent(cell: Cell, fold: str) -> int | None:
    """The 80 of test-80, where users are held out."""
    return int(fold.rpartition("-")[2]) if cell.protocol in HELD_OUT_USERS else None


def _told(row: Row) -> str:
    rmse = "no RMSE" if row.rmse is None else f"RMSE {row.rmse:.4f}"
    ndcg = "no ranking" if row.ndcg_100 is None else f"NDCG@100 {row.ndcg_100:.4f}"
    return f"{rmse}, {ndcg}"
