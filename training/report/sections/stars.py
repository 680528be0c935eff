"""Predicted against true stars: what was predicted where the rating was 1, 2, ..."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluation.star_errors import LevelPredictions, StarErrors
from training.report.blocks import Block, Figure, Grid, Key, Note, Section, Table
from training.report.charts.distributions import Spread, distribution_chart
from training.report.charts.lines import Names, Series, line_chart
from training.report.shown import Shown, missing

GIVEN = 5  # the colour of what people did, whoever predicts it
MEANING = (
    "Each shape is wide where predictions are many; the bar holds their middle half, the dot is "
    "the median, and the line across is the true rating. Predictions are drawn towards the mean "
    "where a rating could not be known, so shapes rise less steeply than the lines."
)


def stars_section(runs: Sequence[Shown]) -> Section:
    """One figure for each run and test fold."""
    figures: list[Block] = [
        draw(run, errors)
        for run in runs
        for errors in run.report.star_errors
        for draw in (_figure, _frequencies)
    ]
    blocks = missing(runs, "star_errors", "predictions by true rating")
    if figures:
        blocks += [Note(MEANING), Grid(figures)]
    return Section("stars", "Predicted against true stars", blocks)


def _figure(run: Shown, errors: StarErrors) -> Figure:
    spreads = [
        Spread(_short(level), level.counts, level.quantiles, (level.lowest, level.highest),
               f"{_label(level)} stars: mean {level.mean:.2f}, {level.rows:,} ratings")
        for level in errors.levels
    ]  # fmt: skip
    first, last = errors.levels[0], errors.levels[-1]
    said = (
        f"Where the rating was {_label(first)} the mean prediction is {first.mean:.2f}, where it "
        f"was {_label(last)} it is {last.mean:.2f}; {errors.rows:,} ratings of {errors.fold}."
    )
    chart = distribution_chart(
        spreads,
        errors.bins,
        Names(_axis(errors, "true rating"), "predicted rating"),
        said,
        run.colour,
    )
    return Figure(run.named(f"{errors.fold} rows"), chart, said, table=_table(run, errors))


def _table(run: Shown, errors: StarErrors) -> Table:
    return Table(
        f"Predictions by true rating, {run.named(errors.fold)}",
        ("true rating", "ratings", "mean", "5%", "25%", "median", "75%", "95%"),
        [
            [_label(level), f"{level.rows:,}", f"{level.mean:.3f}",
             *(f"{value:.2f}" for value in level.quantiles)]
            for level in errors.levels
        ],
        folded=True,
    )  # fmt: skip


def _frequencies(run: Shown, errors: StarErrors) -> Figure:
    """How often each rating was given, and how often predictions came nearest to it."""
    names = tuple(_short(level) for level in errors.levels)
    given = [level.rows / errors.rows for level in errors.levels]
    middles = [(level.lowest + level.highest) / 2 for level in errors.levels]
    predicted = [0.0] * len(middles)
    for level in errors.levels:
        for low, high, count in zip(errors.bins[:-1], errors.bins[1:], level.counts, strict=True):
            predicted[_nearest(middles, (low + high) / 2)] += count / errors.rows
    lines = [
        Series("given", range(len(given)), given, GIVEN, dashed=True),
        Series("predicted, to the nearest", range(len(given)), predicted, run.colour),
    ]
    often = [_label(errors.levels[shares.index(max(shares))]) for shares in (given, predicted)]
    said = f"{often[0]} was given most often; predictions are nearest to {often[1]} most often."
    chart = line_chart(lines, Names(_axis(errors, "rating"), "share of the ratings", names), said)
    legend = [Key(line.label, line.colour, line.dashed) for line in lines]
    title = run.named(f"how often, {errors.fold} rows")
    return Figure(title, chart, said, legend)


def _nearest(middles: Sequence[float], value: float) -> int:
    return min(range(len(middles)), key=lambda place: abs(middles[place] - value))


def _label(level: LevelPredictions) -> str:
    """A level, or both ends of a range."""
    if level.lowest == level.highest:
        return f"{level.lowest:g}"
    return f"{level.lowest:.3g} to {level.highest:.3g}"


def _short(level: LevelPredictions) -> str:
    """What stands below an axis, where ranges have no room for both ends."""
    return _label(level).split(" ")[0]


def _axis(errors: StarErrors, name: str) -> str:
    ranges = any(level.lowest < level.highest for level in errors.levels)
    return f"{name}, ranges from" if ranges else name
