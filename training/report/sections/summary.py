"""What is seen first: the figures a run is judged by, and what a watcher would have called out."""

from __future__ import annotations

from collections.abc import Iterator

from training.evaluation.scores import FIGURES, Comparison
from training.report.blocks import Block, Facts, Note, Tile, Tiles
from training.report.record import RunReport
from training.report.sections.origin import chosen
from training.report.sections.results import NAMES

FIRST = ("rmse", "mse", "ndcg@100", "precision@10", "coverage")


def summary(report: RunReport) -> list[Block]:
    """Tiles, the early warnings, and the facts in a few lines."""
    data, first = report.data, report.tests[0]
    return [
        Tiles(list(_tiles(first))),
        *_warnings(report),
        Facts([
            ("Data", f"{data.source}: {data.ratings:,} ratings, {data.users:,} users, "
                     f"{data.items:,} items"),
            ("Split", f"{report.protocol}, seed {report.split_seed}, digest "
                      f"{report.split_digest[:12]}"),
            ("Chosen", chosen(report)),
            ("Took", f"{sum(report.seconds.values()):,.0f} s"),
        ]),
    ]  # fmt: skip


def _tiles(fold: Comparison) -> Iterator[Tile]:
    scores = fold.of(fold.reference)
    for name in FIRST:
        if name in scores.intervals:
            found = scores.intervals[name]
            digits = ".1%" if name == "coverage" else ".4f"
            ends = f"{found.low:{digits}} to {found.high:{digits}}"
            note = _aim(scores.nominal_coverage) if name == "coverage" else _best(fold, name)
            yield Tile(f"{NAMES[name]}, {fold.fold}", f"{found.value:{digits}}", ends, note)


def _aim(nominal: float | None) -> str:
    return "intervals" if nominal is None else f"should be {nominal:.0%}"


def _best(fold: Comparison, name: str) -> str:
    """The best baseline by a figure."""
    others = [s for s in fold.scores if s.predictor != fold.reference and name in s.metrics]
    if not others:
        return "no baseline has it"
    best = (max if FIGURES[name] else min)(others, key=lambda scores: scores.metrics[name])
    return f"best baseline: {best.predictor} {best.metrics[name]:.4f}"


def _warnings(report: RunReport) -> list[Block]:
    if not report.warnings:
        return [Note("No early warning was raised while training ran.")]
    return [Note(f"Early warning: {warning}", "warning") for warning in report.warnings]
