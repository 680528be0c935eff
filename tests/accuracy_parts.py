"""Cells, rows and jobs for tests of `make accuracy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.accuracy.bench import Bench
from training.accuracy.command import Job
from training.accuracy.plan import Cell
from training.accuracy.record import Record, Row, Run
from training.ratings import Ratings
from training.sources import SourceSettings
from training.split import split_ratings

DATA = "synthetic:users=150,items=60,ratings=3000,seed=4"
SOURCES = SourceSettings(download=False)
RUN = Run(recipe="r", code="c", choices={})


def cell_of(model: str, seed: int | None = 1, protocol: str = "random") -> Cell:
    return Cell(DATA, protocol, model, seed)


def row_of(cell: Cell, **figures: float | None) -> Row:
    blank = dict.fromkeys(
        ("rmse", "mse", "mae", "ndcg@100", "recall@20", "recall@50", "precision@10", "coverage80")
    )
    facts: dict[str, Any] = {
        "data": cell.data, "protocol": cell.protocol, "fold_in": None, "split_seed": 42,
        "split_digest": "d", "model": cell.model, "served": False, "seed": cell.seed,
        "epoch": None, "train_seconds": 60.0, "code": "c",
    }  # fmt: skip
    return Row.model_validate(facts | blank | figures)


class Teller:
    """Remembers what a person would be told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, text: str) -> None:
        self.lines.append(text)


def job_of(folder: Path, *cells: Cell, **options: bool) -> tuple[Job, Teller]:
    teller = Teller()
    record = Record(folder / "results" / "accuracy.json")
    return Job(cells, record, folder / "state", SOURCES, teller, **options), teller


def bench_of(cell: Cell, ratings: Ratings, state: Path) -> Bench:
    split = split_ratings(ratings, cell.protocol, 42)
    return Bench(cell, ratings, split, state, Teller(), lambda other: f"recipe of {other.model}")
