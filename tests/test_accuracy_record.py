"""make accuracy: what is planned, how it is recorded, which code and settings it depends on."""

from __future__ import annotations

import io
import multiprocessing
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.accuracy_parts import RUN, cell_of, row_of
from training.__main__ import main
from training.accuracy.models import MODELS, recipe_of
from training.accuracy.plan import MODELS as NAMES
from training.accuracy.plan import TABLE, Cell, planned
from training.accuracy.recipe import recipe
from training.accuracy.record import Record, Run
from training.accuracy.revision import revision
from training.accuracy.search import Search, search
from training.accuracy.table import accuracy_table, medians
from training.code_digest import ROOT
from training.errors import ConfigurationError, DataError

# What is planned


def test_the_table_has_every_model_and_protocol_of_the_issue() -> None:
    cells = planned()
    assert len(set(cells)) == len(cells)
    assert {cell.model for cell in cells} == set(NAMES) == set(MODELS)
    assert {cell.protocol for cell in cells} == {
        "random-1234", "official-u1", "users", "users-liked", "temporal"
    }  # fmt: skip
    best = [cell.seed for cell in cells if cell.name.startswith("ml-1m:random-1234:best")]
    assert best == [1, 2, 3]
    assert not [c for c in cells if c.model in ("svdpp", "myfm") and c.protocol == "users-liked"]


def test_members_come_before_the_blend() -> None:
    names = [cell.name for cell in planned()]
    for seed in (1, 2, 3):
        blend = names.index(f"ml-1m:random-1234:blend:{seed}")
        for member in ("myfm", "best", "ensemble"):
            assert names.index(f"ml-1m:random-1234:{member}:{seed}") < blend


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("ml-1m", lambda c: c.data == "ml-1m"),
        ("best", lambda c: c.model == "best"),
        ("ml-1m:best", lambda c: (c.data, c.model) == ("ml-1m", "best")),
        ("ml-1m:users:e*", lambda c: c.name.startswith(("ml-1m:users:ease", "ml-1m:users:ens"))),
        ("*:temporal:*", lambda c: c.protocol == "temporal"),
        ("ml-1m:random-1234:best:2", lambda c: c.name == "ml-1m:random-1234:best:2"),
    ],
)
def test_a_pattern_names_a_part(pattern: str, matches: Callable[[Cell], bool]) -> None:
    expected = [cell for cell in planned() if matches(cell)]
    assert expected
    assert planned([pattern]) == expected


def test_patterns_add_up_without_repeating() -> None:
    assert planned(["ml-1m:ease", "ml-1m"])[0].model == "ease"
    assert set(planned(["ml-1m:ease", "ml-1m"])) == set(planned(["ml-1m"]))
    assert len(planned(["ml-1m:ease", "ml-1m"])) == len(planned(["ml-1m"]))


def test_data_beyond_the_table_is_named_in_full() -> None:
    assert planned(["ml-32m:random:best"]) == [Cell("ml-32m", "random", "best", 1)]
    assert planned(["ml-32m:random:best:3"]) == [Cell("ml-32m", "random", "best", 3)]


@pytest.mark.parametrize("pattern", ["worst", "ml-1m:worst", "ml-1m:users:blend", "a:b:c:d:e"])
def test_a_pattern_without_a_match_is_told(
    pattern: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigurationError, match=pattern):
        planned([pattern])
    assert main(["accuracy", "--only", pattern]) == 2
    assert pattern in capsys.readouterr().err


# What is recorded


def test_a_row_has_the_fields_of_the_issue_and_the_revision() -> None:
    fields = (
        "data, protocol, fold_in, split_seed, split_digest, model, served, seed, epoch, rmse, mse, "
        "mae, ndcg@100, recall@20, recall@50, precision@10, coverage80, train_seconds"
    )
    row = row_of(cell_of("bias", None))
    assert list(row.model_dump(mode="json")) == [*fields.split(", "), "code"]


def test_rows_are_replaced_by_cell_and_kept_in_the_tables_order(tmp_path: Path) -> None:
    record = Record(tmp_path / "new" / "accuracy.json")
    cells = [Cell(*TABLE[2], "best", 2), Cell(*TABLE[0], "ease", None), Cell(*TABLE[2], "best", 1)]
    for cell in cells:
        record.put(cell, [row_of(cell, rmse=1.0)], RUN)
    record.put(cells[0], [row_of(cells[0], rmse=0.5)], Run(recipe="new", code="c", choices={}))
    assert [row.cell for row in record.read().rows] == [cells[1], cells[2], cells[0]]
    assert [row.rmse for row in record.read().rows] == [1.0, 1.0, 0.5]
    assert record.recipe_of(cells[0]) == "new"
    assert record.recipe_of(cell_of("bias", None)) is None
    assert [path.name for path in record.path.parent.iterdir()] == ["accuracy.json"]
    with pytest.raises(ValueError, match="ease"):
        record.put(cells[1], [row_of(cells[0])], RUN)


def test_what_is_no_record_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "accuracy.json"
    path.write_text('{"rows": [{"data": "ml-1m"}]}')
    with pytest.raises(DataError, match=r"rows\.0"):
        Record(path).put(cell_of("bias"), [], RUN)
    assert path.read_text() == '{"rows": [{"data": "ml-1m"}]}'


def put_many(path: Path, model: str, count: int) -> None:
    for seed in range(1, count + 1):
        cell = cell_of(model, seed)
        Record(path).put(cell, [row_of(cell, rmse=float(seed))], RUN)


def test_writers_at_once_lose_nothing_and_readers_see_whole_files(tmp_path: Path) -> None:
    path, count = tmp_path / "accuracy.json", 12
    fork = multiprocessing.get_context("fork")
    writers = [
        fork.Process(target=put_many, args=(path, model, count)) for model in ("best", "proven")
    ]
    for writer in writers:
        writer.start()
    seen = [0]
    while any(writer.is_alive() for writer in writers):
        seen.append(len(Record(path).read().rows))  # raises if it is half a file
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen == sorted(seen)
    rows = Record(path).read().rows
    assert sorted((row.model, row.seed or 0) for row in rows) == sorted(
        (model, seed) for model in ("best", "proven") for seed in range(1, count + 1)
    )


# What makes a row out of date


def test_a_recipe_follows_code_and_settings_but_no_comments(tmp_path: Path) -> None:
    def recipe_after(name: str, path: str = "", old: str = "", new: str = "") -> str:
        root = tmp_path / name
        for package in ("models", "training"):
            shutil.copytree(ROOT / package, root / package)
        if path:
            text = (root / path).read_text()
            assert old in text
            (root / path).write_text(text.replace(old, new, 1))
        return recipe({"a": 1}, ("training.baselines.bias",), root)

    same = recipe({"a": 1}, ("training.baselines.bias",))
    bias = "training/baselines/bias.py"
    assert recipe_after("as is") == same
    assert recipe_after("comment", bias, "# Sweeps end", "# All sweeps end") == same
    assert recipe_after("docstring", bias, "The bias model", "A model of biases") == same
    assert recipe_after("elsewhere", "training/baselines/ease.py", "512", "256") == same
    assert recipe_after("code", bias, "USER_RIDGE = 5.0", "USER_RIDGE = 6.0") != same
    rows = "training/baselines/rows.py"  # imported by bias.py
    assert recipe_after("import", rows, "self.values.mean()", "self.values.max()") != same
    assert recipe({"a": 2}, ("training.baselines.bias",)) != same


def test_the_revision_is_that_of_the_code(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    assert revision(tmp_path) == "unknown"
    for name in ("training/run.py", "results/accuracy.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("as committed")
    git("init", "--quiet")
    git("add", "training", "results")
    git("commit", "--quiet", "-m", "All of it")
    clean = revision(tmp_path)
    (tmp_path / "results" / "accuracy.json").write_text("one row more")
    assert revision(tmp_path) == clean
    (tmp_path / "training" / "run.py").write_text("changed")
    assert revision(tmp_path) == f"{clean}+"


# Tuning and the table


def test_a_search_takes_the_best_of_each_setting_and_tries_nothing_twice() -> None:
    tried: list[tuple[int, int]] = []

    def trial(settings: dict[str, Any]) -> float:
        tried.append((settings["a"], settings["b"]))
        return float((settings["a"] - 3) ** 2 + (settings["b"] - 20) ** 2 + settings["a"])

    space = Search({"a": 1, "b": 10}, {"a": (1, 2, 3), "b": (10, 20, 30)}, "rmse", higher=False)
    found = search(space, trial)
    assert found.settings == {"a": 2, "b": 20} or found.settings == {"a": 3, "b": 20}
    assert found.value == min(value for _, value in found.trials) == 3.0
    assert len(set(tried)) == len(tried) == len(found.trials)


def test_the_table_shows_medians_and_the_best() -> None:
    values = {1: 0.83, 2: 0.82, 3: 0.86}
    rows = [row_of(cell_of("best", seed), rmse=value) for seed, value in values.items()]
    rows = [row_of(cell_of("bias", None), rmse=0.9, mae=0.7), *rows]
    assert medians(rows[1:]) == {"rmse": 0.83}
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(accuracy_table(rows))
    lines = [line for line in console.export_text().splitlines() if "│" in line]
    bias, best = (
        [part.strip() for part in line.split("│")[2:-1]] for line in lines if "0." in line
    )
    assert bias[:5] == ["bias", "1", "0.9000", "-", "0.7000"]
    assert best[:5] == ["best", "3", "0.8300", "-", "-"]


def test_every_recipe_can_be_told() -> None:
    recipes = {model: recipe_of(cell_of(model)) for model in NAMES if model not in UNWRITTEN}
    assert len(set(recipes.values())) == len(recipes)


UNWRITTEN = {"scaled", "best", "ensemble"} - {
    path.stem for path in (ROOT / "training" / "configs").glob("*.yaml")
}
