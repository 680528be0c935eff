"""Two runs held against each other: figures, what differs, and whether they may be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from training.evaluation.scores import FIGURES, Comparison, Estimate
from training.flat_settings import flattened
from training.report.record import RunReport


class Part(BaseModel):
    """A part of a comparison."""

    model_config = ConfigDict(frozen=True)


class Side(Part):
    """One of the two, as it is told apart."""

    report: Path
    name: str
    data: str
    data_digest: str
    protocol: str
    split_digest: str
    seed: int
    code_version: str

    @property
    def folder(self) -> str:
        """The name of the folder it lies in."""
        return self.report.resolve().parent.name


class FigurePair(Part):
    """A figure of both runs' models on one fold; null where a run has none.

    difference: b - a, null where they cannot be compared. better: a or b, null where neither is.
    overlap: whether the 95% intervals do; null where there are not two.
    """

    fold: str
    figure: str
    a: Estimate | None
    b: Estimate | None
    difference: float | None
    better: str | None
    overlap: bool | None


class Setting(Part):
    """A setting that is not the same in both; null where a run has none of the name."""

    setting: str
    a: str | None
    b: str | None


class Compared(Part):
    """All that is said of two runs. why_not: the sentence, if they cannot be compared."""

    a: Side
    b: Side
    comparable: bool
    why_not: str | None
    figures: tuple[FigurePair, ...]
    settings: tuple[Setting, ...]


def compare_reports(a: RunReport, b: RunReport, paths: tuple[Path, Path]) -> Compared:
    """Hold b against a; `paths` are those of their files."""
    reason = why_not(a, b)
    return Compared(
        a=_side(a, paths[0]),
        b=_side(b, paths[1]),
        comparable=reason is None,
        why_not=reason,
        figures=tuple(_figures(a, b, comparable=reason is None)),
        settings=tuple(differing_settings(a.configuration, b.configuration)),
    )


def why_not(a: RunReport, b: RunReport) -> str | None:
    """Why figures of the two mean different things, in a sentence; None if they are comparable."""
    if a.split_digest != b.split_digest:
        return (
            f"The two runs were not scored on the same rows (split digest {a.split_digest[:12]}, "
            f"protocol {a.protocol}, against {b.split_digest[:12]}, protocol {b.protocol}), so "
            "their figures stand side by side and no difference is taken."
        )
    if a.data.digest != b.data.digest:
        return (
            f"The two runs were not made on the same ratings (data digest {a.data.digest[:12]} "
            f"against {b.data.digest[:12]}), so their figures stand side by side and no difference "
            "is taken."
        )
    liked_a, liked_b = (report.tests[0].scores[0].liked_from for report in (a, b))
    if liked_a != liked_b:
        return (
            f"The two runs count different ratings as liked (from {liked_a:g} against from "
            f"{liked_b:g}), so their figures stand side by side and no difference is taken."
        )
    return None


def differing_settings(a: Mapping[str, object], b: Mapping[str, object]) -> Iterator[Setting]:
    """Settings by their dotted names, in the order of a, then of b."""
    mine, others = dict(flattened(a)), dict(flattened(b))
    for name in dict.fromkeys([*mine, *others]):
        if mine.get(name) != others.get(name):
            yield Setting(setting=name, a=mine.get(name), b=others.get(name))


def _side(report: RunReport, path: Path) -> Side:
    return Side(
        report=path,
        name=report.name,
        data=report.data.source,
        data_digest=report.data.digest,
        protocol=report.protocol,
        split_digest=report.split_digest,
        seed=report.seed,
        code_version=report.code_version,
    )


def _figures(a: RunReport, b: RunReport, *, comparable: bool) -> Iterator[FigurePair]:
    mine, others = _estimates(a), _estimates(b)
    for fold, figure in dict.fromkeys([*mine, *others]):
        yield _pair(fold, figure, mine.get((fold, figure)), others.get((fold, figure)), comparable)


def _estimates(report: RunReport) -> dict[tuple[str, str], Estimate]:
    """The model's figures on the test folds, then on validation, in the order of a table."""
    folds: tuple[Comparison, ...] = (*report.tests, report.validation)
    return {
        (fold.fold, name): fold.of(fold.reference).intervals[name]
        for fold in folds
        for name in FIGURES
        if name in fold.of(fold.reference).intervals
    }


def _pair(
    fold: str, figure: str, a: Estimate | None, b: Estimate | None, comparable: bool
) -> FigurePair:
    if a is None or b is None or not comparable:
        return FigurePair(
            fold=fold, figure=figure, a=a, b=b, difference=None, better=None, overlap=None
        )
    difference, more = b.value - a.value, FIGURES[figure]
    better = None if more is None or not difference else "b" if (difference > 0) == more else "a"
    overlap = a.low <= b.high and b.low <= a.high
    return FigurePair(
        fold=fold, figure=figure, a=a, b=b, difference=difference, better=better, overlap=overlap
    )
