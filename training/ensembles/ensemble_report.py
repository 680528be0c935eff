"""What each member of an ensemble contributes and costs, for machines and as a table.

"Without it": the figure on validation once the weights are fitted anew to the others, less that of
the whole; what the ensemble would lose.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from rich.table import Table


class Price(BaseModel):
    """What serving costs. weight_bytes: on disk. milliseconds: one request, onnxruntime on CPU with
    one thread, a history of median length; of a member that only rates, rating 100 items."""

    model_config = ConfigDict(frozen=True)

    weight_bytes: int
    milliseconds: float


class MemberReport(BaseModel):
    """One member: figures on validation rows, weights, price alone; null where it has no answer."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    chosen_epoch: int | None
    rmse: float
    ndcg_100: float | None
    rating_weight: float
    preference_weight: float
    rmse_without: float | None
    """How much higher RMSE is without it."""
    ndcg_without: float | None
    """How much lower NDCG@100 is without it."""
    price: Price | None = None
    epochs: list[dict[str, float]] = []
    """The figures of its epochs; none of a member without any."""


class EnsembleReport(BaseModel):
    """The members, and the price of the whole in one graph."""

    model_config = ConfigDict(frozen=True)

    members: list[MemberReport]
    price: Price


def members_table(report: EnsembleReport) -> Table:
    """One line a member and one for the whole."""
    table = Table(
        title="Members on validation rows",
        caption="loses: what the ensemble loses without it, weights fitted anew; price of one "
        "request on one CPU thread",
    )
    for name in ("member", "kind"):
        table.add_column(name)
    numbers = (
        "epoch", "RMSE", "weight", "loses", "NDCG@100", "weight", "loses", "MB", "ms"
    )  # fmt: skip
    for name in numbers:
        table.add_column(name, justify="right")
    for member in report.members:
        table.add_row(
            member.name, member.kind, _told(member.chosen_epoch, "d"),
            _told(member.rmse, ".4f"), _told(member.rating_weight, ".3f"),
            _told(member.rmse_without, "+.4f"),
            _told(member.ndcg_100, ".4f"), _told(member.preference_weight, ".3f"),
            _told(member.ndcg_without, "+.4f"), *_price(member.price),
        )  # fmt: skip
    table.add_row("all", *[""] * 8, *_price(report.price))
    return table


def _price(price: Price | None) -> tuple[str, str]:
    if price is None:
        return "-", "-"
    return f"{price.weight_bytes / 1e6:.1f}", f"{price.milliseconds:.2f}"


def _told(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
