"""Held-out metrics beside the baselines on the same rows, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from training.evaluation.scores import FIGURES, Comparison, Estimate, Scores
from training.report.blocks import Block, Cell, Figure, Grid, Group, Note, Section, Table
from training.report.charts.estimates import Row, estimate_chart
from training.report.record import RunReport

DRAWN = ("rmse", "mse", "ndcg@100", "recall@20", "recall@50", "precision@10")
NAMES = {
    "rmse": "RMSE", "mse": "MSE", "mae": "MAE", "ndcg@100": "NDCG@100", "recall@20": "Recall@20",
    "recall@50": "Recall@50", "precision@10": "Precision@10", "coverage": "Coverage",
    "width": "Width",
}  # fmt: skip
BETTER = {True: "higher is better", False: "lower is better", None: "neither end is better"}


def results_section(report: RunReport) -> Section:
    """Every test fold, then what the choices were made on."""
    blocks: list[Block] = [_fold(comparison) for comparison in report.tests]
    blocks.append(_validation(report))
    if not report.stars:
        blocks.insert(0, Note(f"The protocol {report.protocol} reports no stars, so no RMSE: only "
                              "liked ratings exist under it."))  # fmt: skip
    return Section("results", "Metrics beside the baselines", blocks)


def shown_figures(comparisons: Sequence[Comparison]) -> list[str]:
    """The figures that any predictor has, in the order of a table."""
    scores = [scores for comparison in comparisons for scores in comparison.scores]
    return [name for name in FIGURES if any(name in one.metrics for one in scores)]


def _fold(comparison: Comparison) -> Group:
    first = comparison.scores[0]
    said = (
        f"{first.users:,} users with {first.rows:,} hidden ratings; {first.ranked_users:,} users "
        f"with {first.targets:,} targets, ratings of {first.liked_from:g} or more. Intervals are "
        "95% bootstrap intervals over users."
    )
    blocks: list[Block] = [Note(said), Grid(list(_figures(comparison))), _values(comparison)]
    if comparison.differences:
        blocks.append(_differences(comparison))
    return Group(f"On the {comparison.fold} rows", blocks)


def _figures(comparison: Comparison) -> Iterator[Figure]:
    for name in DRAWN:
        rows = [
            Row(scores.predictor, *_ends(scores, name), min(number, 1))
            for number, scores in enumerate(comparison.scores)
            if name in scores.metrics
        ]
        if rows and rows[0].label == comparison.reference:
            better = BETTER[FIGURES[name]]
            alt = f"{NAMES[name]}, {better}: {_told(rows)}."
            chart = estimate_chart(rows, f"{NAMES[name]}, {better}", alt)
            yield Figure(NAMES[name], chart, _against(comparison, name))


def _against(comparison: Comparison, name: str) -> str:
    """The best baseline, and whether the model differs from it."""
    found = {
        predictor: differences[name]
        for predictor, differences in comparison.differences.items()
        if name in differences
    }
    if not found:
        return "No baseline has this figure."
    sign = -1 if FIGURES[name] else 1
    best, difference = min(found.items(), key=lambda pair: sign * pair[1].value)
    interval = f"{difference.low:+.4f} to {difference.high:+.4f}"
    ends = f"{difference.value:+.4f} (paired, {interval})"
    clear = "more than chance" if difference.clear else "which may be chance"
    return f"The best baseline is {best}, at {ends} from {comparison.reference}: {clear}."


def _ends(scores: Scores, name: str) -> tuple[float, float, float]:
    estimate = scores.intervals[name]
    return estimate.value, estimate.low, estimate.high


def _told(rows: Sequence[Row]) -> str:
    return ", ".join(f"{row.label} {row.value:.4f}" for row in rows)


def _values(comparison: Comparison) -> Table:
    names = shown_figures([comparison])
    return Table(
        f"All figures on the {comparison.fold} rows, each with its 95% interval",
        ("model", *(NAMES[name] for name in names)),
        [
            [scores.predictor, *(_cell(comparison, scores, name) for name in names)]
            for scores in comparison.scores
        ],
    )


def _cell(comparison: Comparison, scores: Scores, name: str) -> str | Cell:
    estimate = scores.intervals.get(name)
    if estimate is None:
        return "–"
    more = FIGURES[name]
    values = [one.metrics[name] for one in comparison.scores if name in one.metrics]
    best = more is not None and estimate.value == (max(values) if more else min(values))
    ends = f"{estimate.low:.4f} to {estimate.high:.4f}"
    return Cell(f"{estimate.value:.4f}", "best" if best else "", ends)


def _differences(comparison: Comparison) -> Table:
    names = [name for name in shown_figures([comparison]) if FIGURES[name] is not None]
    rows = [
        [predictor, *(_difference(differences, name) for name in names)]
        for predictor, differences in comparison.differences.items()
    ]
    return Table(
        f"Each baseline less {comparison.reference}, paired by user on the {comparison.fold} rows; "
        "coloured where the interval excludes 0",
        ("baseline", *(NAMES[name] for name in names)),
        rows,
    )


def _difference(differences: dict[str, Estimate], name: str) -> str | Cell:
    estimate = differences.get(name)
    if estimate is None:
        return "–"
    better = "better" if (estimate.value > 0) == FIGURES[name] else "worse"
    ends = f"{estimate.low:+.4f} to {estimate.high:+.4f}"
    return Cell(f"{estimate.value:+.4f}", better if estimate.clear else "", ends)


def _validation(report: RunReport) -> Table:
    scores = report.validation.of(report.validation.reference)
    rows = [
        [NAMES[name], f"{value.value:.4f}", f"{value.low:.4f} to {value.high:.4f}"]
        for name, value in scores.intervals.items()
    ]
    return Table(
        f"The chosen {scores.predictor}, before its refit, on the {scores.rows:,} validation "
        "ratings that choices and intervals were made on",
        ("figure", "value", "95% interval"), rows, folded=True,
    )  # fmt: skip
