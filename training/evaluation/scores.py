"""What an evaluation found, as a report stores it and as a reader sees it.

Frozen records that dump to JSON (`model_dump(mode="json")` uses the names a report prints, such as
"ndcg@100"), and the table made from them. How the figures come about is in evaluate.py beside it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

# Figures in the order a table shows them, and whether more is better; None: neither is.
FIGURES: dict[str, bool | None] = {
    "rmse": False,
    "mse": False,
    "mae": False,
    "ndcg@100": True,
    "recall@20": True,
    "recall@50": True,
    "precision@10": True,
    "coverage": None,
    "width": None,
}


class Estimate(BaseModel):
    """A figure and its 95% bootstrap interval over users."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """For a difference: whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


class Scores(BaseModel):
    """One predictor on one fold; a figure is None where the predictor has no answer.

    users: those with a hidden row. ranked_users: those with a target. coverage, width: share of the
    hidden ratings inside their intervals, which should hold `nominal_coverage`, and the intervals'
    mean width in stars.
    """

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    predictor: str
    fold: str
    seed: int
    liked_from: float
    users: int
    ranked_users: int
    rows: int
    targets: int
    rmse: float | None = None
    mse: float | None = None
    mae: float | None = None
    ndcg_100: float | None = Field(default=None, alias="ndcg@100")
    recall_20: float | None = Field(default=None, alias="recall@20")
    recall_50: float | None = Field(default=None, alias="recall@50")
    precision_10: float | None = Field(default=None, alias="precision@10")
    coverage: float | None = None
    width: float | None = None
    nominal_coverage: float | None = None
    intervals: dict[str, Estimate] = Field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """The figures it has, under their JSON names."""
        return {name: estimate.value for name, estimate in self.intervals.items()}


class Comparison(BaseModel):
    """Several predictors on one fold.

    differences: predictor -> figure -> (predictor - reference), paired by user, for every figure
    both have.
    """

    model_config = ConfigDict(frozen=True)

    fold: str
    reference: str
    scores: tuple[Scores, ...]
    differences: dict[str, dict[str, Estimate]]

    def of(self, predictor: str) -> Scores:
        """The scores of one predictor; KeyError if it was not compared."""
        return {scores.predictor: scores for scores in self.scores}[predictor]


def results_table(comparison: Comparison) -> Table:
    """One row per predictor; the best of each figure is bold.

    Each figure stands over half the width of its 95% interval. A star marks a paired difference
    from the reference whose interval excludes 0.
    """
    first = comparison.scores[0]
    shown = [n for n in FIGURES if any(n in scores.metrics for scores in comparison.scores)]
    table = Table(
        title=f"{comparison.fold}: {first.users:,} users, {first.rows:,} ratings; "
        f"{first.ranked_users:,} users with {first.targets:,} targets",
        caption=_caption(comparison),
    )
    table.add_column("model")
    for name in shown:
        table.add_column(name, justify="right")
    for scores in comparison.scores:
        table.add_row(scores.predictor, *(_cell(comparison, scores, name) for name in shown))
    return table


def _caption(comparison: Comparison) -> str:
    wanted = sorted({s.nominal_coverage for s in comparison.scores if s.nominal_coverage})
    meant = f"; coverage should be {', '.join(f'{share:.0%}' for share in wanted)}"
    return (
        f"+-: half of the 95% bootstrap interval; *: differs from {comparison.reference}"
        + meant * bool(wanted)
    )


def _cell(comparison: Comparison, scores: Scores, name: str) -> str:
    estimate = scores.intervals.get(name)
    if estimate is None:
        return "-"
    difference = comparison.differences.get(scores.predictor, {}).get(name)
    star = "*" if difference is not None and difference.clear else ""
    text = f"{estimate.value:.4f}{star}"
    if _is_best(comparison, scores, name):
        text = f"[bold]{text}[/bold]"
    return f"{text}\n[dim]+-{(estimate.high - estimate.low) / 2:.4f}[/dim]"


def _is_best(comparison: Comparison, scores: Scores, name: str) -> bool:
    more_is_better = FIGURES[name]
    if more_is_better is None:
        return False
    values = [s.metrics[name] for s in comparison.scores if name in s.metrics]
    return scores.metrics[name] == (max(values) if more_is_better else min(values))
