"""Members of the blend beyond the table: where there are which, what they are fitted on, kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.accuracy import members
from training.accuracy.bench import Bench
from training.accuracy.kept import read_kept
from training.accuracy.members import SIDE, fitted_members, members_of
from training.accuracy.models import recipe_of
from training.accuracy.plan import TABLE, Cell
from training.peers.asking import Fit, ask
from training.peers.environment import ROOT, is_installed
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings
from training.split import Rows, split_ratings

ENVIRONMENTS = ROOT / ".usher" / "peers"
CELL = Cell("synthetic:users=60,items=40,ratings=1500,seed=4", "random", "blend", 2)
CELL_OF = (CELL.data, CELL.protocol)
SMALL = {"rank": 3, "draws": 20}


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return load_ratings(CELL.data, SourceSettings(download=False))


@pytest.mark.parametrize(("data", "protocol"), TABLE)
def test_dates_are_told_only_where_the_published_figures_had_them(data: str, protocol: str) -> None:
    names = members_of(Cell(data, protocol, "blend", 1))
    dated = [name for name in names if "dated" in name]
    assert bool(dated) == (protocol == "official-u1")
    assert ["dates" in members.MEMBERS[name].side for name in names] == [
        name in dated for name in names
    ]
    assert len(names) - len(dated) == 2


def test_a_blend_depends_on_its_members(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [Cell(*CELL_OF, name, 1) for name in ("blend", "myfm-side", "myfm-ordinal", "best")]
    before = [recipe_of(cell) for cell in cells]
    assert len(set(before)) == len(cells)
    monkeypatch.setattr(members, "DEFAULT_SIZE", SMALL)
    changed = [recipe_of(cell) != old for cell, old in zip(cells, before, strict=True)]
    assert changed == [True, True, True, False]


@pytest.mark.skipif(
    not is_installed("myfm", ENVIRONMENTS),
    reason="the environment of myfm is not there: make accuracy ONLY=ml-100k:myfm",
)
def test_members_are_fitted_once_on_what_each_step_may_see(
    ratings: Ratings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "DEFAULT_SIZE", SMALL)
    (tmp_path / "peers").symlink_to(ENVIRONMENTS)
    split, told = split_ratings(ratings, CELL.protocol, 42), list[str]()
    bench = Bench(CELL, ratings, split, tmp_path, told.append, recipe_of)
    found = fitted_members(bench)
    assert list(found) == ["myfm-side", "myfm-ordinal"] and len(told) == 2

    def rated(rows: Rows, asked: Rows, likelihood: str) -> list[float]:
        """By the peer itself, in the order of users, then items."""
        settings = SMALL | {"likelihood": likelihood}
        fit = Fit(ratings, rows, settings, 2, 4.0, ("users", "items"))
        fold = next(f for f in (split.validation, *split.tests) if f.hidden is asked)
        (answered,) = ask(SIDE, fit, [fold], ENVIRONMENTS).predictors
        order = np.lexsort((ratings.items[asked], ratings.users[asked]))
        assert answered.answer.ratings is not None
        return list(answered.answer.ratings[order].tolist())

    for name, likelihood in (("myfm-side", "gaussian"), ("myfm-ordinal", "ordinal")):
        kept, (test,) = found[name], split.tests
        validation = rated(split.fit, split.validation.hidden, likelihood)
        assert kept.validation.tolist() == pytest.approx(validation, abs=1e-5)
        on_test = rated(split.refit, test.hidden, likelihood)
        assert kept.tests[0].tolist() == pytest.approx(on_test, abs=1e-5)
        folder = bench.folder_of(Cell(*CELL_OF, name, 2))
        assert read_kept(folder) is not None

    again = fitted_members(bench)
    assert len(told) == 2  # nothing was fitted
    assert all(np.array_equal(again[name].tests[0], found[name].tests[0]) for name in found)
