"""A few users: what they liked best, and what they would be offered."""

from __future__ import annotations

from training.evaluation.examples import Example, Favourite, Item, Offer
from training.report.blocks import Block, Cell, Grid, Group, Note, Section, Table
from training.report.record import RunReport
from training.report.shown import Shown, missing

MEANING = (
    "Users at four places in the order of history length, not picked by hand. Offers are ranked by "
    "preference and leave out what the model was shown of the user; “gave it” is the user's own "
    "rating where it is among the hidden ones, so a dash says nothing against an offer."
)


def examples_section(report: RunReport) -> Section:
    """Two tables a user, side by side where there is room."""
    blocks: list[Block] = missing([Shown(report)], "examples", "examples")
    if report.examples:
        blocks = [Note(MEANING), *(_user(example, report) for example in report.examples)]
    return Section("examples", "Examples", blocks)


def _user(example: Example, report: RunReport) -> Group:
    found = sum(offer.given is not None for offer in example.offers)
    said = (
        f"{example.visible:,} ratings shown to the model (mean {example.mean_rating:.2f}), "
        f"{example.hidden:,} hidden, of which {found} are among the ten offers."
    )
    tables = Grid([_favourites(example), _offers(example, report)])
    return Group(f"User {example.user_id}", [Note(said), tables])


def _favourites(example: Example) -> Table:
    return Table(
        "Rated best",
        ("item", "genres", "rating"),
        [_described(one, f"{one.rating:g}") for one in example.favourites],
        words=frozenset({1}),
    )


def _described(one: Favourite, *cells: str) -> list[str | Cell]:
    return [_title(one), Cell(", ".join(one.genres), "faint"), *cells]


def _offers(example: Example, report: RunReport) -> Table:
    coverage = report.configuration.get("evaluation", {}).get("coverage")
    interval = "interval" if coverage is None else f"{coverage:.0%} interval"
    stars = ("predicted", interval) if report.stars else ()
    return Table(
        "Offered",
        ("item", "genres", *stars, "gave it"),
        [_offer(rank, offer, report.stars) for rank, offer in enumerate(example.offers, start=1)],
        words=frozenset({1}),
    )


def _offer(rank: int, offer: Offer, stars: bool) -> list[str | Cell]:
    cells: list[str | Cell] = [f"{rank}. {_title(offer)}", Cell(", ".join(offer.genres), "faint")]
    if stars and offer.predicted is not None and offer.low is not None and offer.high is not None:
        cells += [f"{offer.predicted:.2f}", f"{offer.low:.2f} to {offer.high:.2f}"]
    cells.append("–" if offer.given is None else Cell(f"{offer.given:g}", "best"))
    return cells


def _title(item: Item) -> str:
    name = item.title or f"item {item.item_id}"
    return f"{name} ({item.year})" if item.year else name
