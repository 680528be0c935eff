"""What each member of an ensemble contributes and costs."""

from __future__ import annotations

from training.ensembles.ensemble_report import EnsembleReport, Price
from training.report.blocks import Note, Section, Table
from training.report.shown import decimal

HEADINGS = (
    "member", "kind", "epoch", "RMSE", "rating weight", "RMSE lost without it", "NDCG@100",
    "preference weight", "NDCG@100 lost without it", "MB", "ms",
)  # fmt: skip
MEANING = (
    "Figures are on validation rows, on which the weights were fitted. Lost without it: what the "
    "ensemble loses once the weights are fitted anew to the others. MB and ms: on disk, and for "
    "one request on one CPU thread."
)


def members_section(ensemble: EnsembleReport) -> Section:
    """One row a member and one for the whole."""
    rows = [
        [
            member.name,
            member.kind,
            "–" if member.chosen_epoch is None else str(member.chosen_epoch),
            decimal(member.rmse),
            decimal(member.rating_weight, 3),
            decimal(member.rmse_without),
            decimal(member.ndcg_100),
            decimal(member.preference_weight, 3),
            decimal(member.ndcg_without),
            *_price(member.price),
        ]
        for member in ensemble.members
    ]
    rows.append(["all", *[""] * 8, *_price(ensemble.price)])
    table = Table("Members of the ensemble", HEADINGS, rows, words=frozenset({1}))
    return Section("members", "Members", [Note(MEANING), table])


def _price(price: Price | None) -> tuple[str, str]:
    if price is None:
        return "–", "–"
    return f"{price.weight_bytes / 1e6:.1f}", f"{price.milliseconds:.2f}"
