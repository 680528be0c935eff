"""Members of the blend that are no rows of the table: Bayesian SVD++ that is told more.

They know users by who they are, so none can be served. What a member predicts is kept under a
recipe of its own: a blend that was interrupted goes on with the next member.

Dates are given where test rows are drawn at random from the same days as training rows and the
published figures had them. In ml-1m's random-1234 they had not, and a day of `temporal`'s future is
one that no training row knows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from training.accuracy.bench import LIKED_FROM, Bench
from training.accuracy.kept import Kept, keep, read_kept
from training.accuracy.plan import Cell
from training.peers.asking import Answered, Fit, Peer, ask
from training.peers.side_information import Kind
from training.split import Fold, Rows

SIDE = Peer("myfm_side", knows_histories=False, environment="myfm")
DATED_PROTOCOLS = frozenset({"official-u1", "official-u2"})
# Chosen on validation rows (EXPERIMENTS.md); a small set has no use for more factors.
SIZES = {"ml-100k": {"rank": 16, "draws": 300}}
DEFAULT_SIZE = {"rank": 24, "draws": 300}


@dataclass(frozen=True)
class Member:
    """How a member's ratings are likely, and what it is told beside ratings."""

    likelihood: str
    side: tuple[Kind, ...]


MEMBERS = {
    "myfm-side": Member("gaussian", ("users", "items")),
    "myfm-ordinal": Member("ordinal", ("users", "items")),
    "myfm-dated": Member("gaussian", ("users", "items", "dates")),
    "myfm-dated-ordinal": Member("ordinal", ("users", "items", "dates")),
}


def members_of(cell: Cell) -> tuple[str, ...]:
    """The names of the members that a blend of the cell's data and protocol has."""
    dated = cell.protocol in DATED_PROTOCOLS
    return tuple(name for name, member in MEMBERS.items() if dated or "dates" not in member.side)


def member_settings(cell: Cell) -> dict[str, Any]:
    """What the figures of a member, which is the cell's model, depend on beside code."""
    return asdict(MEMBERS[cell.model]) | _size(cell)


def fitted_members(bench: Bench) -> dict[str, Kept]:
    """What each member predicts, fitted now unless it is kept.

    Raises PeerUnavailable if the library cannot be installed or fails.
    """
    cell = bench.cell
    cells = [Cell(cell.data, cell.protocol, name, cell.seed) for name in members_of(cell)]
    return {member.model: _fitted(bench, member) for member in cells}


def _fitted(bench: Bench, cell: Cell) -> Kept:
    folder, split = bench.folder_of(cell), bench.split
    if (kept := read_kept(folder)) is not None:
        return kept
    bench.say(f"  {cell.name} ...")
    (chosen,), choosing_s = _answers(bench, cell, split.fit, (split.validation,))
    final, fit_s = _answers(bench, cell, split.refit, split.tests)
    tests = tuple(map(bench.ratings_of, final, split.tests))
    kept = Kept(bench.ratings_of(chosen, split.validation), tests, choosing_s + fit_s)
    keep(folder, kept)
    return kept


def _answers(
    bench: Bench, cell: Cell, rows: Rows, folds: tuple[Fold, ...]
) -> tuple[tuple[Answered, ...], float]:
    member = MEMBERS[cell.model]
    settings = _size(cell) | {"likelihood": member.likelihood}
    fit = Fit(bench.ratings, rows, settings, bench.seed, LIKED_FROM, member.side)
    asked = ask(SIDE, fit, folds, bench.state / "peers")
    return asked.predictors, asked.fit_seconds


def _size(cell: Cell) -> dict[str, Any]:
    return SIZES.get(cell.data, DEFAULT_SIZE)
