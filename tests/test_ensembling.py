"""An ensemble from a configuration to a served bundle, and what a broken run leaves."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import bentoml
import numpy as np
import pytest
import torch
import yaml

from models.bundle import open_bundle
from models.networks.ensemble import Ensemble
from service.engine import Engine, RankJob, RateJob
from service.filters import Filters
from service.schemas import Selection
from tests.made_teacher import take_the_place
from training.__main__ import main
from training.config import load_configuration
from training.ensembles.ensemble_report import Price
from training.errors import ConfigurationError
from training.evaluation.network_predictor import NetworkPredictor
from training.report import RunReport
from training.request import Request
from training.run import Outcome, run
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings

DATA = "synthetic:users=120,items=60,ratings=3000,seed=3"
CONFIGURATION = {
    "network": {"n_factors": 8, "hidden_dims": [16], "latent_dim": 4, "dropout": 0.0},
    "training": {
        "batch_users": 20, "max_epochs": 3, "learning_rate": {"initial": 0.01},
        "teacher": {"rank": 6, "compressed_rank": 6, "weight": 1.0},
    },
    "ensemble": [
        {"name": "one"},
        {"name": "two", "seed_offset": 10, "training": {"max_epochs": 2, "teacher": None}},
        {"name": "ridge", "kind": "ridge-fold-in", "ridge": {"implicit_ridge": 2.0}},
    ],
}  # fmt: skip


# Long enough for a signal to meet the second member at work.
LONG = (
    "ensemble=[{name: one}, {name: two, training: {max_epochs: 15, patience: 15, teacher: null}},"
    " {name: ridge, kind: ridge-fold-in}]"
)


@pytest.fixture(autouse=True)
def fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Teachers are made by tests.made_teacher, which says so in this file."""
    take_the_place(tmp_path / "fits.txt", monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(CONFIGURATION))
    return tmp_path / "fits.txt"


@pytest.fixture
def unpriced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting every member to see what it costs takes longer than all the rest of a run."""
    price = Price(weight_bytes=1, milliseconds=1.0)
    monkeypatch.setattr("training.ensembles.ensemble_estimator.price_of", lambda *arguments: price)


def request_of(folder: str, *overrides: str, resume: bool = False) -> Request:
    ratings = load_ratings(DATA, SourceSettings(download=False))
    configuration = load_configuration("small.yaml", overrides)
    split = split_ratings(ratings, "random", 42)
    return Request(
        ratings, split, configuration, Path(folder), lambda text: None, resume=resume,
        progress=False,
    )  # fmt: skip


def carried_out(request: Request) -> Outcome:
    outcome = run(request)
    assert outcome is not None
    return outcome


def test_a_trained_ensemble_is_served_as_torch_computes_it(
    fits: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    arguments = ["train", "--config", "small.yaml", "--data", DATA, "--folder", "run"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    report = RunReport.model_validate_json(Path("run/report.json").read_text())
    assert report.ensemble is not None
    members = {member.name: member for member in report.ensemble.members}
    assert list(members) == ["one", "two", "ridge"]
    assert all(name in told for name in members)
    assert members["ridge"].ndcg_100 is None
    assert members["ridge"].preference_weight == 0
    assert fits.read_text().count("began") == 2  # one teacher a step, shared by the members
    prices = [member.price for member in members.values()]
    sizes = [price.weight_bytes for price in prices if price]
    assert max(sizes) < report.ensemble.price.weight_bytes <= sum(sizes) * 1.2

    bundle = open_bundle(Path(bentoml.models.get("usher:latest").path))
    assert bundle.manifest.metrics["rmse"] == report.tests[0].of("ensemble").rmse
    request.getfixturevalue("unpriced")
    outcome = carried_out(request_of("run", resume=True))
    ratings = load_ratings(DATA, SourceSettings(download=False))
    histories = ratings.histories()
    low, high = ratings.scale.minimum, ratings.scale.maximum
    torch_says = NetworkPredictor("torch", outcome.network, (low, high))
    engine, items = Engine(bundle), np.arange(len(ratings.catalog))
    everything = Filters(bundle.catalog).of(Selection())
    for user in (0, 7, 50):
        history = histories.take([user])
        (estimates,) = engine.rate([RateJob(history, items)])
        expected, spreads = torch_says.rate_with_spread(history, np.zeros_like(items), items)
        np.testing.assert_allclose(estimates.ratings, expected, atol=1e-4)
        np.testing.assert_allclose(estimates.spreads, spreads, atol=1e-4)
        (ranking,) = engine.rank([RankJob(history, history.items, everything, 100)])
        scores = torch_says.score(history)[0]
        scores[history.items] = -np.inf
        best = np.argsort(-scores, kind="stable")[: len(ranking.items)]
        np.testing.assert_allclose(ranking.scores, scores[best], atol=1e-4)


@pytest.mark.usefixtures("unpriced")
def test_the_chosen_ensemble_said_what_is_kept_for_the_blend(tmp_path: Path) -> None:
    request = request_of("run")
    outcome = carried_out(request)
    fold = request.split.validation
    actual = request.ratings.histories(fold.hidden).ratings
    error = outcome.on_validation.astype(float) - actual
    reported = outcome.report.validation.of("ensemble").rmse
    assert reported == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert outcome.report.ensemble is not None
    alone = [member.rmse for member in outcome.report.ensemble.members]
    assert reported is not None
    assert reported < min(alone) + 1e-3  # weights were fitted on these very rows


@pytest.mark.usefixtures("unpriced")
def test_members_are_refitted_and_their_weights_stay() -> None:
    request = request_of("run")
    outcome = carried_out(request)
    ratings, split = request.ratings, request.split
    final = outcome.network
    assert isinstance(final, Ensemble)
    one, two, ridge = final.members
    for name, network in (("one", one), ("two", two)):
        chosen, refitted = (
            torch.load(f"run/{name}/{file}", weights_only=True)["network"]
            for file in ("chosen.pt", "refitted.pt")
        )
        assert not torch.equal(chosen["item_embedding"], refitted["item_embedding"])
        torch.testing.assert_close(network.state_dict(), refitted)
    assert float(ridge.get_buffer("mean")) == pytest.approx(
        ratings.values[split.refit].mean(), abs=1e-5
    )

    assert outcome.report.ensemble is not None
    weights = [(m.rating_weight, m.preference_weight) for m in outcome.report.ensemble.members]
    assert list(zip(final.shares.rating, final.shares.preference, strict=True)) == weights
    hidden = ratings.histories(split.validation.hidden)
    assert final.shares.centre == pytest.approx(hidden.ratings.mean(), abs=1e-6)


@pytest.mark.usefixtures("unpriced")
def test_a_broken_run_is_taken_up_where_it_stopped(tmp_path: Path, fits: Path) -> None:
    best, patience = Path("broken/two/best.ckpt"), threading.Event()

    def interrupt_the_second_member() -> None:
        while not best.exists():
            patience.wait(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    request = request_of("broken", LONG)
    threading.Thread(target=interrupt_the_second_member, daemon=True).start()
    assert run(request) is None
    finished = Path("broken/one/chosen.pt")
    assert finished.exists()
    assert not Path("broken/two/chosen.pt").exists()
    before, teachers = finished.stat().st_mtime_ns, fits.read_text().count("began")

    resumed = carried_out(request_of("broken", LONG, resume=True))
    assert finished.stat().st_mtime_ns == before
    again = fits.read_text().count("began") - teachers
    assert again <= 1  # that of the refit, if it had not been collected
    assert resumed.report.ensemble is not None
    one, two, _ = resumed.report.ensemble.members
    kept = torch.load(finished, weights_only=True)
    assert one.chosen_epoch == kept["epochs"]
    history = torch.load("broken/two/chosen.pt", weights_only=True)["history"]
    assert [epoch for epoch, _ in history] == list(range(1, 16))
    assert two.chosen_epoch is not None


@pytest.mark.usefixtures("unpriced")
def test_a_new_run_in_an_old_folder_trains_everything_again(tmp_path: Path) -> None:
    carried_out(request_of("run"))
    finished = Path("run/one/refitted.pt")
    before = finished.stat().st_mtime_ns
    carried_out(request_of("run"))
    assert finished.stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ("[]", "at least 1 item"),
        ("[{name: a}, {name: a}]", "two members of the ensemble have one name"),
        ("[{name: a, kind: ridge-fold-in}]", "must rank"),
        ("[{name: ../a}]", "name"),
        ("[{name: a, network: {n_factors: 0}}]", "the member a: network.n_factors"),
        ("[{name: a, training: {epochs: 3}}]", "the member a: training.epochs"),
        ("[{name: a, training: {teacher: {rank: 8}}}]", "the member a asks for a teacher"),
        ("[{name: a, training: {time_effects: {}}}]", "the member a has time_effects of its own"),
        ("[{name: a, ridge: {implicit_ridge: 2}}]", "the member a is a network"),
        ("[{name: a}, {name: b, kind: ridge-fold-in, seed_offset: 1}]", "b is closed-form"),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused_in_one_sentence(members: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_configuration("small.yaml", [f"ensemble={members}"])


def test_a_closed_form_needs_a_teacher() -> None:
    with pytest.raises(ConfigurationError, match="ridge needs training"):
        load_configuration("small.yaml", ["training.teacher=null"])


def test_members_differ_by_what_they_override_alone() -> None:
    configuration = load_configuration("small.yaml")
    assert configuration.ensemble is not None
    one, two, _ = map(configuration.of_member, configuration.ensemble)
    assert (one.seed, two.seed) == (configuration.seed, configuration.seed + 10)
    assert one.training == configuration.training
    assert two.training.teacher is None
    assert two.training.learning_rate == configuration.training.learning_rate
    assert one.ensemble is None
