"""make accuracy: what is measured, and what is measured anew."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.accuracy_parts import DATA, SOURCES, bench_of, cell_of, job_of
from tests.made_teacher import take_the_place
from training.accuracy.command import measure
from training.accuracy.kept import read_kept
from training.accuracy.plan import Cell
from training.config import Configuration, load_configuration
from training.ensembles.ensemble_report import Price
from training.ratings import Ratings
from training.sources import load_ratings
from training.split import split_ratings


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return load_ratings(DATA, SOURCES)


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
