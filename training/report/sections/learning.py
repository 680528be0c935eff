"""How the network learned: errors, ranking, KL, gradients and rates, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.fitting.watch import COLLAPSED_KL, LARGEST_GRADIENT, WIDEST_GAP
from training.report.blocks import Block, Figure, Grid, Key, Note, Section, Table
from training.report.charts.lines import Names, Rule, Series, line_chart
from training.report.record import gap_at
from training.report.shown import Shown, decimal

Epoch = dict[str, float]
COLOURS = 8
COLUMNS = {
    "train_rmse": "train RMSE", "validation_rmse": "validation RMSE",
    "validation_ndcg": "validation NDCG@100", "kl": "KL", "kl_weight": "KL weight",
    "gradient_norm": "gradient norm", "learning_rate": "learning rate",
}  # fmt: skip


@dataclass(frozen=True)
class History:
    """The epochs of one network: a run's, or a member's of its ensemble."""

    run: Shown
    name: str
    epochs: Sequence[Epoch]
    chosen: int | None
    colour: int

    def series(self, figure: str, label: str, *, dashed: bool = False) -> Series:
        """One figure over the epochs."""
        xs = [epoch["epoch"] for epoch in self.epochs]
        ys = [epoch.get(figure) for epoch in self.epochs]
        return Series(self.told(label, ", "), xs, ys, self.colour, dashed)

    def told(self, text: str, between: str = ": ") -> str:
        """A text that says whose it is, where there are several."""
        return between.join(filter(None, (self.name, text)))

    def said(self, sentence: str) -> str:
        """A sentence that says whose it is; by itself it begins with a capital."""
        return self.told(sentence) if self.name else sentence[0].upper() + sentence[1:]


@dataclass(frozen=True)
class Curve:
    """A figure of every epoch. ratios: drawn in equal ratios; marked: where networks were taken."""

    figure: str
    title: str
    axis: str
    meaning: str
    rules: tuple[Rule, ...] = ()
    ratios: bool = False
    marked: bool = False


CURVES = (
    Curve("validation_ndcg", "Ranking on validation rows", "NDCG@100",
          "NDCG@100 counts liked items near the top; higher is better.", marked=True),
    Curve("kl", "Kullback-Leibler divergence", "nats per latent dimension",
          f"Below {COLLAPSED_KL:g} the posterior has collapsed to the prior.",
          (Rule(COLLAPSED_KL, f"collapse {COLLAPSED_KL:g}", "warning"),)),
    Curve("kl_weight", "Weight of the KL term", "weight",
          "What the divergence is multiplied by in the loss, by its schedule."),
    Curve("gradient_norm", "Gradient norm", "mean norm before clipping",
          f"Above {LARGEST_GRADIENT:g} is an early warning.",
          (Rule(LARGEST_GRADIENT, f"warning {LARGEST_GRADIENT:g}", "warning"),), ratios=True),
    Curve("learning_rate", "Learning rate", "step size",
          "The step size of AdamW at the end of each epoch."),
)  # fmt: skip


def learning_section(runs: Sequence[Shown]) -> Section:
    """The curves of one run or two, of an ensemble's members each by itself."""
    histories = _histories(runs)
    without = [run for run in runs if not any(one.run is run for one in histories)]
    blocks: list[Block] = [Note(_without(run), "missing") for run in without]
    if histories:
        figures = [_errors(histories), *(_figure(histories, curve) for curve in CURVES)]
        blocks += [Grid(figures), *_tables(histories)]
    if any(not run.report.stars for run in runs):
        blocks.append(Note("Only liked ratings exist under this protocol: RMSE here is what "
                           "training followed, and no figure of the model."))  # fmt: skip
    return Section("learning", "Learning", blocks)


def _histories(runs: Sequence[Shown]) -> list[History]:
    """Every network with epochs, each in a colour of its own."""
    found: list[tuple[Shown, str, Sequence[Epoch], int | None]] = []
    for run in runs:
        found.append((run, run.label, run.report.epochs, run.report.chosen_epoch))
        members = run.report.ensemble.members if run.report.ensemble else []
        found += [(run, run.named(m.name), m.epochs, m.chosen_epoch) for m in members]
    with_epochs = [one for one in found if one[2]]
    return [History(*one, number % COLOURS) for number, one in enumerate(with_epochs)]


def _without(run: Shown) -> str:
    whose = f"Run {run.label}'s" if run.label else "This run's"
    return f"{whose} report.json holds no epochs: its version kept none of an ensemble's members."


def _errors(histories: Sequence[History]) -> Figure:
    """Both curves of one network or two; of more, those on validation."""
    series = [h.series("validation_rmse", "validation") for h in histories]
    if len(histories) <= 2:
        series += [h.series("train_rmse", "train", dashed=True) for h in histories]
    said = " ".join(_lowest(history) for history in histories)
    names = Names("epoch", "RMSE, stars")
    rules = _chosen(histories)
    return Figure(
        "Error on training and validation rows" if len(histories) <= 2 else "Validation error",
        line_chart(series, names, f"RMSE by epoch. {said}", rules),
        f"{said} {_gaps(histories)}A gap above {WIDEST_GAP:g} is an early warning.",
        _legend(series),
    )


def _gaps(histories: Sequence[History]) -> str:
    """How far the chosen epochs' validation error is above that of training."""
    found = [(history, gap_at(history.chosen, history.epochs)) for history in histories]
    said = [
        history.said(f"validation is {abs(gap):.3f} {_side(gap)} training as chosen.")
        for history, gap in found
        if gap is not None
    ]
    return "".join(f"{sentence} " for sentence in said)


def _side(gap: float) -> str:
    return "below" if gap < 0 else "above"


def _figure(histories: Sequence[History], curve: Curve) -> Figure:
    series = [history.series(curve.figure, "") for history in histories]
    said = " ".join(filter(None, (_went(history, curve.figure) for history in histories)))
    rules = [*curve.rules, *(_chosen(histories) if curve.marked else ())]
    chart = line_chart(
        series, Names("epoch", curve.axis), f"{curve.title} by epoch. {said}", rules,
        ratios=curve.ratios,
    )  # fmt: skip
    legend = _legend(series) if len(histories) > 1 else ()
    return Figure(curve.title, chart, f"{said} {curve.meaning}", legend)


def _chosen(histories: Sequence[History]) -> list[Rule]:
    """Where each network was taken from; too many lines would hide the curves."""
    if len(histories) > 2:
        return []
    return [
        Rule(float(h.chosen), h.told("chosen", " "), stands=True)
        for h in histories
        if h.chosen is not None
    ]


def _legend(series: Sequence[Series]) -> list[Key]:
    return [Key(one.label, one.colour, one.dashed) for one in series]


def _lowest(history: History) -> str:
    told = [epoch for epoch in history.epochs if "validation_rmse" in epoch]
    if not told:
        return ""
    best = min(told, key=lambda epoch: epoch["validation_rmse"])
    value = best["validation_rmse"]
    beside = f", training {best['train_rmse']:.4f}" if "train_rmse" in best else ""
    return history.said(f"lowest at epoch {best['epoch']:.0f}, validation {value:.4f}{beside}.")


def _went(history: History, figure: str) -> str:
    values = [epoch[figure] for epoch in history.epochs if figure in epoch]
    if not values:
        return ""
    first, last, low, high = values[0], values[-1], min(values), max(values)
    if low == high:
        return history.said(f"{low:.4g} throughout.")
    return history.said(f"from {first:.4g} to {last:.4g}; lowest {low:.4g}, highest {high:.4g}.")


def _tables(histories: Sequence[History]) -> list[Table]:
    return [
        Table(
            f"Every epoch{' of ' + history.name if history.name else ''}",
            ("epoch", *COLUMNS.values()),
            [_row(epoch, history.chosen) for epoch in history.epochs],
            folded=True,
        )
        for history in histories
    ]


def _row(epoch: Epoch, chosen: int | None) -> list[str]:
    number = f"{epoch['epoch']:.0f}"
    mark = " (chosen)" if chosen == epoch["epoch"] else ""
    small = {"kl_weight", "learning_rate"}
    return [
        number + mark,
        *(
            f"{epoch[name]:.3g}" if name in small and name in epoch else decimal(epoch.get(name))
            for name in COLUMNS
        ),
    ]
