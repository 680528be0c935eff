"""make accuracy: what is planned, what is recorded, what is measured anew, what is blended."""

from __future__ import annotations

import io
import json
import math
import multiprocessing
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.made_teacher import take_the_place
from training.__main__ import main
from training.accuracy.bench import Bench
from training.accuracy.blend import measure_blend
from training.accuracy.command import Job, measure, recipes_for
from training.accuracy.kept import Kept, keep, read_kept
from training.accuracy.models import MODELS, recipe_of
from training.accuracy.plan import MODELS as NAMES
from training.accuracy.plan import TABLE, Cell, planned
from training.accuracy.recipe import recipe
from training.accuracy.record import Record, Row, Run
from training.accuracy.revision import revision
from training.accuracy.search import Search, search
from training.accuracy.table import accuracy_table, medians
from training.code_digest import ROOT
from training.config import Configuration, load_configuration
from training.ensembles.blending import fit_blend
from training.ensembles.ensemble_report import Price
from training.errors import ConfigurationError, DataError, TrainingError
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings

DATA = "synthetic:users=150,items=60,ratings=3000,seed=4"
SOURCES = SourceSettings(download=False)
RUN = Run(recipe="r", code="c", choices={})


def cell_of(model: str, seed: int | None = 1, protocol: str = "random") -> Cell:
    return Cell(DATA, protocol, model, seed)


def row_of(cell: Cell, **figures: float | None) -> Row:
    blank = dict.fromkeys(
        ("rmse", "mse", "mae", "ndcg@100", "recall@20", "recall@50", "precision@10", "coverage80")
    )
    facts: dict[str, Any] = {
        "data": cell.data, "protocol": cell.protocol, "fold_in": None, "split_seed": 42,
        "split_digest": "d", "model": cell.model, "served": False, "seed": cell.seed,
        "epoch": None, "train_seconds": 60.0, "code": "c",
    }  # fmt: skip
    return Row.model_validate(facts | blank | figures)


class Teller:
    """Remembers what a person would be told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, text: str) -> None:
        self.lines.append(text)


def job_of(folder: Path, *cells: Cell, **options: bool) -> tuple[Job, Teller]:
    teller = Teller()
    record = Record(folder / "results" / "accuracy.json")
    return Job(cells, record, folder / "state", SOURCES, teller, **options), teller


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return load_ratings(DATA, SOURCES)


def bench_of(cell: Cell, ratings: Ratings, state: Path) -> Bench:
    split = split_ratings(ratings, cell.protocol, 42)
    return Bench(cell, ratings, split, state, Teller(), lambda other: f"recipe of {other.model}")


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


# What is measured


def ridge_rmse(ratings: Ratings, fit: Any, test: Any) -> float:
    """RMSE of mean + user + item biases from one dense ridge system."""
    users, items = len(ratings.user_ids), len(ratings.catalog)
    rows = np.arange(len(fit))
    design = np.zeros((len(fit), users + items))
    design[rows, ratings.users[fit]] = 1
    design[rows, users + ratings.items[fit]] = 1
    mean = ratings.values[fit].astype(float).mean()
    ridge = np.diag([5.0] * users + [2.0] * items)
    biases = np.linalg.solve(design.T @ design + ridge, design.T @ (ratings.values[fit] - mean))
    predicted = mean + biases[ratings.users[test]] + biases[users + ratings.items[test]]
    low, high = ratings.scale.minimum, ratings.scale.maximum
    return math.sqrt(np.mean((np.clip(predicted, low, high) - ratings.values[test]) ** 2))


def test_figures_are_those_of_the_models_on_the_test_rows(tmp_path: Path, ratings: Ratings) -> None:
    cells = [cell_of("bias", None), cell_of("popularity", None), cell_of("ease", None)]
    job, _ = job_of(tmp_path, *cells)
    assert measure(job) == []
    rows = {row.model: row for row in job.record.read().rows}
    split = split_ratings(ratings, "random", 42)
    expected = ridge_rmse(ratings, split.refit, split.tests[0].hidden)
    assert rows["bias"].rmse == pytest.approx(expected, abs=1e-4)
    assert rows["bias"].split_digest == split.digest
    assert rows["bias"].seed is None
    assert rows["popularity"].rmse is None
    assert rows["ease"].ndcg_100 is not None
    choices = job.record.read().runs[cell_of("ease", None).name].choices
    assert choices["settings"]["lambda_"] in (250.0, 500.0, 1000.0)
    assert len(choices["trials"]) == 3


def test_what_is_measured_is_not_measured_again(tmp_path: Path) -> None:
    cells = [cell_of("bias", None, "users"), cell_of("popularity", None, "users-liked")]
    job, told = job_of(tmp_path, *cells)
    measure(job)
    assert [row.fold_in for row in job.record.read().rows] == [80, 50, 80, 50]
    assert [row.rmse is None for row in job.record.read().rows] == [False, False, True, True]
    before = job.record.path.read_bytes()
    job, told = job_of(tmp_path, *cells)
    assert measure(job) == []
    assert told.lines == []
    assert job.record.path.read_bytes() == before

    content = json.loads(before)  # as if another code had made it
    content["runs"][cells[0].name]["recipe"] = "another"
    job.record.path.write_text(json.dumps(content))
    job, told = job_of(tmp_path, *cells, keep_older=True)
    measure(job)
    assert told.lines == []
    job, told = job_of(tmp_path, *cells)
    measure(job)
    assert [line.partition(" ")[0].rstrip(":") for line in told.lines] == [cells[0].name] * 2
    job, told = job_of(tmp_path, *cells, again=True)
    measure(job)
    assert len(told.lines) == 4


def test_a_network_is_trained_by_its_configuration_and_kept_for_the_blend(
    tmp_path: Path, ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_small(name: str, overrides: list[str]) -> Configuration:
        small = ["network.n_factors=8", "network.hidden_dims=[16]", "network.latent_dim=4"]
        return load_configuration(name, [*overrides, *small, "training.max_epochs=4"])

    monkeypatch.setattr("training.accuracy.networks.load_configuration", load_small)
    cell = cell_of("proven")
    job, told = job_of(tmp_path, cell)
    assert measure(job) == []
    (row,) = job.record.read().rows
    run = job.record.read().runs[cell.name]
    assert row.served
    assert row.epoch is not None
    assert row.coverage80 is not None
    assert run.choices["configuration"]["network"]["n_factors"] == 8
    folder = bench_of(cell, ratings, job.state).state / "accuracy"
    (kept_in,) = folder.iterdir()
    kept = read_kept(kept_in)
    assert kept is not None, told.lines
    split = split_ratings(ratings, "random", 42)
    test = split.tests[0].hidden
    order = np.lexsort((ratings.items[test], ratings.users[test]))
    error = kept.tests[0].astype(float) - ratings.values[test][order]
    assert row.rmse == pytest.approx(math.sqrt(np.mean(error**2)), abs=1e-5)
    assert len(kept.validation) == len(split.validation.hidden)


def test_an_ensemble_is_measured_and_kept_for_the_blend(
    tmp_path: Path, ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_small(name: str, overrides: list[str]) -> Configuration:
        small = [
            "network.n_factors=8", "network.hidden_dims=[16]", "network.latent_dim=4",
            "network.upper_latent_dim=0", "network.shallow.rank=4", "training.max_epochs=2",
            "training.teacher.rank=4",
        ]  # fmt: skip
        return load_configuration(name, [*overrides, *small])

    monkeypatch.setattr("training.accuracy.networks.load_configuration", load_small)
    price = Price(weight_bytes=1, milliseconds=1.0)
    monkeypatch.setattr("training.ensembles.ensemble_estimator.price_of", lambda *arguments: price)
    take_the_place(tmp_path / "fits.txt", monkeypatch)
    cell = cell_of("ensemble")
    job, told = job_of(tmp_path, cell)
    assert measure(job) == [], told.lines
    (row,) = job.record.read().rows
    assert row.served
    assert row.epoch is None
    ensemble = job.record.read().runs[cell.name].choices["ensemble"]
    assert len(ensemble["members"]) == len(load_configuration("ensemble").ensemble or ())
    (kept_in,) = (job.state / "accuracy").iterdir()
    kept = read_kept(kept_in)
    assert kept is not None
    split = split_ratings(ratings, "random", 42)
    assert len(kept.validation) == len(split.validation.hidden)
    hidden = ratings.histories(split.tests[0].hidden)
    error = kept.tests[0].astype(float) - hidden.ratings
    assert row.rmse == pytest.approx(math.sqrt(np.mean(error**2)), abs=1e-5)


def test_what_cannot_be_measured_is_one_line_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "pins"
    pins.mkdir()
    for peer in ("ials", "svdpp", "myfm"):
        (pins / f"{peer}.txt").write_text("usher-has-no-such-peer==0.0\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr("training.peers.environment.PINS", pins)
    monkeypatch.setattr("training.accuracy.peers.PINS", pins)
    cells = [
        cell_of("ials"), cell_of("blend"), Cell("netflix", "random", "bias", None),
        Cell(DATA, "official-u1", "bias", None), cell_of("bias", None),
    ]  # fmt: skip
    job, told = job_of(tmp_path, *cells)
    assert measure(job) == cells[:4]
    assert [row.model for row in job.record.read().rows] == ["bias"]
    refused = [line for line in told.lines if "not measured" in line]
    assert len(refused) == 4
    assert "ials cannot be installed" in refused[0]
    assert "usher-has-no-such-peer" in refused[0]
    assert "\n" not in "".join(refused)
    assert list((job.state / "peers").iterdir()) == []


# The blend


def test_weights_are_the_best_that_are_not_negative() -> None:
    rng = np.random.default_rng(3)
    actual = rng.normal(3.5, 1.0, 4000).astype(np.float32)
    good = actual + rng.normal(0, 0.8, 4000).astype(np.float32)
    fair = actual + rng.normal(0, 1.2, 4000).astype(np.float32)
    blend = fit_blend(np.stack([good, fair]), actual)
    grid = np.linspace(0, 1, 201)
    mean = actual.mean()
    errors = {
        (a, b): np.mean((mean + a * (good - mean) + b * (fair - mean) - actual) ** 2)
        for a in grid
        for b in grid
    }
    assert blend.weights == pytest.approx(min(errors, key=lambda pair: errors[pair]), abs=0.01)
    backwards = fit_blend(np.stack([good, 7 - actual]), actual)
    assert backwards.weights[1] == 0.0


def test_members_that_agree_share_the_weight() -> None:
    actual = np.random.default_rng(0).normal(3, 1, 500).astype(np.float32)
    blend = fit_blend(np.stack([actual, actual]), actual)
    assert blend.weights == pytest.approx([0.5, 0.5], abs=1e-6)


def test_a_blend_is_better_than_its_members_on_the_test_rows(
    tmp_path: Path, ratings: Ratings
) -> None:
    bench = bench_of(cell_of("blend"), ratings, tmp_path)
    rng = np.random.default_rng(1)
    folds = (bench.split.validation, *bench.split.tests)
    truths = [ratings.histories(fold.hidden).ratings for fold in folds]
    member_rmse = []
    names = ("myfm", "best", "myfm-side", "myfm-ordinal")
    for name in names:  # kept, so nothing is fitted
        rated = [truth + rng.normal(0, 0.9, len(truth)).astype(np.float32) for truth in truths]
        keep(bench.folder_of(cell_of(name)), Kept(rated[0], (rated[1],), 10.0))
        member_rmse.append(math.sqrt(np.mean((rated[1] - truths[1]) ** 2)))
    found = measure_blend(bench)
    assert found.train_seconds == 40.0
    weights = found.choices["weights"]
    assert tuple(weights) == names
    alone = [found.choices["rmse"][name]["test"] for name in names]
    assert alone == pytest.approx(member_rmse, abs=1e-4)
    kept = [read_kept(bench.folder_of(cell_of(name))) for name in names]
    centre = truths[0].mean()
    blended = centre + sum(
        weight * (member.tests[0] - centre)
        for weight, member in zip(weights.values(), kept, strict=True)
        if member is not None
    )
    expected = math.sqrt(np.mean((blended - truths[1]) ** 2))
    assert found.scores[0].rmse == pytest.approx(expected, abs=1e-4)
    assert expected < min(member_rmse)


def test_predictions_are_looked_for_where_the_row_that_stands_put_them(tmp_path: Path) -> None:
    blend, older, unmeasured = cell_of("blend"), cell_of("myfm"), cell_of("best")
    job, _ = job_of(tmp_path, blend, keep_older=True)
    for cell in (blend, older):
        job.record.put(cell, [row_of(cell)], Run(recipe="older", code="c", choices={}))
    standing = recipes_for(blend, job)
    assert standing(older) == "older"
    assert standing(blend) == recipe_of(blend)
    assert standing(unmeasured) == recipe_of(unmeasured)
    fresh, _ = job_of(tmp_path, blend)
    assert recipes_for(blend, fresh)(older) == recipe_of(older)


def test_a_blend_says_which_member_it_lacks(tmp_path: Path, ratings: Ratings) -> None:
    bench = bench_of(cell_of("blend"), ratings, tmp_path)
    keep(bench.folder_of(cell_of("myfm")), Kept(np.zeros(0, np.float32), (), 0.0))
    with pytest.raises(TrainingError, match=r"best:1 AGAIN=1"):
        measure_blend(bench)


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
