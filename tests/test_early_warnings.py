"""Early warnings are provoked by real training runs: each is said meanwhile and kept afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.networks.architecture import Architecture
from tests.test_run import DATA, SMALL, report_of
from tests.test_trainer import small
from training.__main__ import main
from training.config import KullbackLeibler, LearningRate
from training.errors import TrainingDiverged
from training.fitting.initial import build_network
from training.fitting.learner import Learner
from training.fitting.trainer import Fitted, choose, refit
from training.fitting.watch import EpochRecord, Watch
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings
from training.split import Split, split_ratings

Provoked = Callable[..., tuple[Fitted, list[str]]]
CALM = LearningRate(initial=1e-3)
NETWORK = Architecture(n_factors=16, hidden_dims=(32,), latent_dim=16, dropout=0.0)
COLLAPSING = {
    "kl": KullbackLeibler(weight=10), "learning_rate": LearningRate(initial=0.1),
    "batch_users": 32, "preference_weight": 0.0, "rating_weight": 0.1, "max_epochs": 12,
}  # fmt: skip
MEMORISING = {
    "kl": KullbackLeibler(weight=0.0), "learning_rate": LearningRate(initial=0.02),
    "batch_users": 150, "preference_weight": 0.0, "factor_penalty": 0.0, "max_epochs": 50,
    "hidden_share": (0.05, 0.1), "patience": 50,
}  # fmt: skip


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    name = "synthetic:users=150,items=80,ratings=4000,seed=1"
    return load_ratings(name, SourceSettings(download=False))


@pytest.fixture(scope="module")
def split(ratings: Ratings) -> Split:
    return split_ratings(ratings, "random", 42)


@pytest.fixture
def provoked(ratings: Ratings, split: Split, tmp_path: Path) -> Provoked:
    def run(**training: object) -> tuple[Fitted, list[str]]:
        said: list[str] = []
        configuration = small(**training).model_copy(update={"network": NETWORK})
        fitted = choose(
            ratings, split.fit, split.validation, configuration, tmp_path, said.append,
            progress=False,
        )  # fmt: skip
        return fitted, said

    return run


def kept(folder: Path) -> tuple[list[int], list[str]]:
    """Epochs and warnings of epochs.json."""
    content = json.loads((folder / "epochs.json").read_text())
    return [epoch["epoch"] for epoch in content["epochs"]], content["warnings"]


@pytest.mark.parametrize(
    ("training", "words"),
    [
        (COLLAPSING, "collapses to the prior"),
        ({"rating_weight": 1e4}, "gradient norm"),
        ({"learning_rate": LearningRate(initial=1e-12), "max_epochs": 7}, "has not improved"),
        (MEMORISING, "memorises"),
    ],
    ids=["collapse", "gradient", "plateau", "gap"],
)  # fmt: skip
def test_what_goes_wrong_is_said_and_kept(
    provoked: Provoked, tmp_path: Path, training: dict[str, object], words: str
) -> None:
    fitted, said = provoked(**training)
    assert [text for text in said if words in text] == [
        f"Early warning: {text}" for text in fitted.warnings if words in text
    ]
    assert sum(words in text for text in fitted.warnings) == 1
    assert kept(tmp_path)[1] == fitted.warnings


def test_a_calm_run_is_warned_of_nothing(provoked: Provoked, tmp_path: Path) -> None:
    fitted, said = provoked(learning_rate=CALM, kl=KullbackLeibler(weight=1e-4))
    assert fitted.warnings == said == kept(tmp_path)[1] == []


def test_a_warning_is_in_the_report_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    steep = "--set=training.rating_weight=10000"
    assert main(["evaluate", "--data", DATA, "--folder", "run", *SMALL, steep]) == 0
    warnings = report_of(tmp_path / "run").warnings
    assert any("gradient norm" in text for text in warnings)
    told = capsys.readouterr()
    assert "gradient norm" in told.err  # while it ran
    assert "Early warning:" in told.out  # in the printed report


def test_an_enormous_learning_rate_ends_the_run(provoked: Provoked, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="Lower the learning rate"):
        provoked(learning_rate=LearningRate(initial=1e30))
    assert any("became" in text for text in kept(tmp_path)[1])


def poison_weight(learner: Learner) -> None:
    learner.network.rating_factors.data[3] = torch.nan


def poison_gradient(learner: Learner) -> None:
    """The loss stays what it is; only its gradient is Inf."""
    learner.network.rating_bias.register_hook(lambda gradient: gradient * torch.inf)


@pytest.mark.parametrize("poison", [poison_weight, poison_gradient])
def test_nan_and_inf_leave_the_last_good_checkpoint(
    provoked: Provoked,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    poison: Callable[[Learner], None],
) -> None:
    def poison_the_third_epoch(learner: Learner) -> None:
        if learner.current_epoch == 2:
            poison(learner)

    monkeypatch.setattr(Learner, "on_train_epoch_start", poison_the_third_epoch, raising=False)
    with pytest.raises(TrainingDiverged, match="in epoch 3"):
        provoked(learning_rate=CALM)
    epochs, warnings = kept(tmp_path)
    assert epochs == [1, 2]
    assert any("in epoch 3" in text for text in warnings)
    best = torch.load(tmp_path / "best.ckpt", map_location="cpu", weights_only=True)
    assert best["epoch"] in (0, 1)
    assert all(bool(w.isfinite().all()) for w in best["state_dict"].values())


@pytest.mark.parametrize("refitting", [False, True])
def test_what_the_last_step_of_an_epoch_breaks_is_no_checkpoint(
    ratings: Ratings, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refitting: bool
) -> None:
    """Inf is clipped to the scale, so validation alone would not see it."""

    def poison_at_the_end(learner: Learner, *_: object) -> None:
        learner.network.rating_bias.data[:] = torch.inf

    monkeypatch.setattr(Learner, "on_train_batch_end", poison_at_the_end, raising=False)
    configuration = small(batch_users=150, learning_rate=CALM)  # one step an epoch
    with pytest.raises(TrainingDiverged, match=r"rating_bias became inf in epoch 1"):
        if refitting:
            untrained = build_network(ratings, split.fit, configuration)
            once = Fitted(untrained, 1, [], [], False)
            refit(ratings, split.refit, once, configuration, print, progress=False)
        else:
            choose(
                ratings, split.fit, split.validation, configuration, tmp_path, print,
                progress=False,
            )  # fmt: skip
    assert not (tmp_path / "best.ckpt").exists()


def test_a_warning_that_passed_says_so_and_one_that_came_back_does_not() -> None:
    said: list[str] = []
    watch = Watch(said.append)
    norms = [30.0, 2.0, 2.0, 40.0, 2.0]
    rmses = [1.0, 1.1, 1.1, 1.1, 1.1, 1.1, 0.9]
    kept = []
    for epoch, rmse in enumerate(rmses, start=1):
        norm = norms[epoch - 1] if epoch <= len(norms) else 2.0
        watch.record(EpochRecord(epoch, {"validation_rmse": rmse, "gradient_norm": norm}))
        kept.append(dict(watch.warnings))
    assert len(said) == 2, "each kind is said once"
    assert kept[0]["gradient"].endswith("before clipping.")
    assert kept[1]["gradient"].endswith("before clipping. It had passed by epoch 2.")
    assert kept[3]["gradient"].endswith("before clipping.")
    assert kept[-1]["gradient"].endswith("It had passed by epoch 5.")
    assert kept[5]["plateau"].endswith("before epoch 20.")
    assert kept[6]["plateau"].endswith("It had passed by epoch 7.")


def test_standing_still_is_no_warning_once_it_is_late() -> None:
    said: list[str] = []
    watch = Watch(said.append)
    for epoch in range(1, 40):
        watch.record(EpochRecord(epoch, {"validation_rmse": 1 / min(epoch, 18)}))
    assert said == []
