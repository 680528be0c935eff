"""RMSE by the user's activity and the item's popularity, beside the baselines' or another run's."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluation.star_errors import ErrorBand, StarErrors
from training.report.blocks import Block, Figure, Grid, Group, Key, Section, Table
from training.report.charts.lines import Names, Series, line_chart
from training.report.sections.fifths import TITLES, WHOSE, places, series, spelled
from training.report.shown import Shown, missing

Broken = tuple[Shown, StarErrors]


def errors_section(runs: Sequence[Shown]) -> Section:
    """For each test fold: one figure by users, one by items."""
    blocks: list[Block] = missing(runs, "star_errors", "errors by activity and popularity")
    pairs = [(run, errors) for run in runs for errors in run.report.star_errors]
    for fold in dict.fromkeys(errors.fold for _, errors in pairs):
        broken = [pair for pair in pairs if pair[1].fold == fold]
        figures = [_figure(broken, whose) for whose in TITLES]
        blocks.append(Group(f"On the {fold} rows", [Grid(figures)]))
    return Section("errors", "Error by activity and popularity", blocks)


def _figure(broken: Sequence[Broken], whose: str) -> Figure:
    bands = _bands(broken[0][1], whose)
    lines = _lines(broken, whose)
    said = " ".join(_range(run, errors, whose) for run, errors in broken)
    return Figure(
        f"RMSE {TITLES[whose]}",
        line_chart(lines, Names(WHOSE[whose], "RMSE, stars", places(bands)), said),
        said + " A fifth has as many " + whose + ", not as many ratings.",
        [Key(line.label, line.colour, line.dashed) for line in lines],
        _table(bands, lines, whose),
    )


def _lines(broken: Sequence[Broken], whose: str) -> list[Series]:
    """The models of two runs; of one, the baselines too."""
    if len(broken) > 1:
        return [
            series(run.named(errors.predictor), _rmse(errors, errors.predictor, whose),
                   run.colour, dashed=False)
            for run, errors in broken
        ]  # fmt: skip
    run, errors = broken[0]
    return [
        series(run.named(name), _rmse(errors, name, whose), colour, dashed=colour > 0)
        for colour, name in enumerate(_bands(errors, whose)[0].rmse)
    ]


def _rmse(errors: StarErrors, predictor: str, whose: str) -> list[float]:
    return [band.rmse[predictor] for band in _bands(errors, whose)]


def _bands(errors: StarErrors, whose: str) -> tuple[ErrorBand, ...]:
    return errors.users if whose == "users" else errors.items


def _range(run: Shown, errors: StarErrors, whose: str) -> str:
    values = _rmse(errors, errors.predictor, whose)
    return (
        f"{run.named(errors.predictor)}: {values[0]:.3f} in the fifth with the fewest ratings, "
        f"{values[-1]:.3f} in that with the most."
    )


def _table(bands: Sequence[ErrorBand], lines: Sequence[Series], whose: str) -> Table:
    return Table(
        f"RMSE {TITLES[whose]}",
        (WHOSE[whose], "scored rows", *(line.label for line in lines)),
        [
            [spelled(band), f"{band.rows:,}", *(f"{line.ys[n]:.4f}" for line in lines)]
            for n, band in enumerate(bands)
        ],
        folded=True,
    )
