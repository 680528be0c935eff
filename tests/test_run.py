"""The command line of training, from ratings to a registered bundle and a report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import bentoml
import numpy as np
import onnxruntime
import pytest

from models.bundle import open_bundle
from training.__main__ import main
from training.config import load_configuration
from training.errors import ExportError
from training.export import largest_difference, same_ranking
from training.report import RunReport
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings

MODEL = "hybrid-vae"
ROOT = Path(__file__).resolve().parent.parent
DATA = "synthetic:users=200,items=90,ratings=5000,seed=2"
SMALL = [
    "--set=network.n_factors=8",
    "--set=network.hidden_dims=[16]",
    "--set=network.latent_dim=4",
    "--set=network.dropout=0.1",
    "--set=training.max_epochs=3",
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def report_of(folder: Path) -> RunReport:
    return RunReport.model_validate_json((folder / "report.json").read_text())


def test_train_registers_a_bundle_that_answers_as_the_report_says(tmp_path: Path) -> None:
    assert main(["train", "--data", DATA, "--folder", "run", *SMALL]) == 0
    bundle = open_bundle(Path(bentoml.models.get("usher:latest").path))
    manifest, report = bundle.manifest, report_of(tmp_path / "run")
    scores = report.tests[0].of(MODEL)
    assert manifest.metrics["rmse"] == scores.rmse
    assert set(manifest.baselines) == {"mean", "bias", "popularity", "ease"}
    assert manifest.protocol.split_digest == report.split_digest
    assert manifest.configuration["network"]["n_factors"] == 8

    ratings = load_ratings(DATA, SourceSettings(download=False))
    split = split_ratings(ratings, "random", 42)
    fold = split.tests[0]
    visible, hidden = ratings.histories(fold.visible), ratings.histories(fold.hidden)
    predicted, spread = onnxruntime.InferenceSession(bundle.rate_graph).run(
        ["ratings", "spreads"],
        {
            "history_items": visible.items,
            "history_ratings": visible.ratings,
            "history_offsets": visible.offsets,
            "target_items": hidden.items,
            "target_rows": hidden.rows,
        },
    )
    error = predicted.astype(np.float64) - hidden.ratings
    assert np.sqrt(np.mean(error**2)) == pytest.approx(scores.rmse, abs=1e-5)
    reach = manifest.calibration.multiplier * spread
    low, high = np.clip([predicted - reach, predicted + reach], 0.5, 5)
    inside = (low <= hidden.ratings) & (hidden.ratings <= high)
    assert manifest.calibration.measured == pytest.approx(inside.mean(), abs=2e-3)


def test_without_make_the_same_store_is_used(tmp_path: Path) -> None:
    names = ("BENTOML_HOME", "BENTOML_DO_NOT_TRACK")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    program = (
        "from training.__main__ import main\n"
        f"assert main(['train', '--data', {DATA!r}, *{SMALL!r}, '--json']) == 0\n"
        "import bentoml, sys; print(bentoml.models.get('usher:latest').path, file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    path = Path(ended.stderr.splitlines()[-1])
    assert path.parent == tmp_path / ".usher" / "bentoml" / "models" / "usher"
    made = json.loads(ended.stdout)  # and nothing but the result
    assert set(made) == {"tag", "digest", "metrics", "baselines", "split_digest", "warnings",
                         "report", "page"}  # fmt: skip
    bundle, report = open_bundle(path), RunReport.model_validate_json(
        Path(made["report"]).read_text()
    )  # fmt: skip
    assert made["tag"] == f"usher:{bundle.manifest.version}"
    assert made["digest"] == bundle.digest
    assert made["metrics"]["rmse"] == report.tests[0].of(MODEL).rmse
    assert made["split_digest"] == report.split_digest
    assert made["warnings"] == report.warnings
    assert Path(made["page"]).is_file()


def test_evaluate_prints_the_report_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "--data", DATA, "--folder", "run", "--json", *SMALL]
    assert main([*arguments, "--protocol", "users"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "run" / "report.json").read_text())
    assert [test["fold"] for test in printed["tests"]] == ["test-80", "test-50"]
    assert printed["protocol"] == "users"
    for test in printed["tests"]:
        mine = next(scores for scores in test["scores"] if scores["predictor"] == MODEL)
        assert mine["mse"] == pytest.approx(mine["rmse"] ** 2)
        assert 0 <= mine["ndcg@100"] <= 1


def test_users_liked_reports_no_stars(tmp_path: Path) -> None:
    arguments = ["evaluate", "--data", DATA, "--folder", "run", "--protocol", "users-liked"]
    assert main([*arguments, *SMALL]) == 0
    scores = report_of(tmp_path / "run").tests[0].of(MODEL)
    assert scores.rmse is None
    assert scores.ndcg_100 is not None


def test_the_pairwise_network_joins_on_request(tmp_path: Path) -> None:
    data = "synthetic:users=40,items=30,ratings=500,seed=2"
    arguments = ["evaluate", "--data", data, "--folder", "run", "--pairwise", *SMALL]
    assert main(arguments) == 0
    names = [scores.predictor for scores in report_of(tmp_path / "run").tests[0].scores]
    assert "pairwise" in names


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "unproven"], "unproven"),
        (["--set", "training.max_epochs=0"], "max_epochs"),
        (["--data", "absent.csv"], "absent.csv"),
        (["--data", "netflix"], "netflix"),
        (["--data", "[/bold].csv"], "There is no file [/bold].csv"),
        (["--data", DATA, "--protocol", "leave-one-out"], "leave-one-out"),
        (["--data", DATA, "--protocol", "random-1234"], "1000209"),
        (["--data", DATA, "--protocol", "official-u1"], "ml-100k"),
        (["--scale", "1:5:1", "--time-column", "when"], "--time-column and --scale can describe"),
        (["--folder", "/dev/null/run"], "/dev/null/run: Not a directory; make room"),
    ],
)
def test_a_mistake_is_told_in_one_sentence_with_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--data", DATA, *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert told.startswith("usher: ")


def test_a_file_of_ones_own_is_described_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings = load_ratings(DATA, SourceSettings(download=False))
    rows = zip(ratings.users, ratings.items, ratings.values, strict=True)
    lines = [f"u{user},i{item},{value:g},1" for user, item, value in rows]
    repeated = lines[0].rsplit(",", 1)[0] + ",2"
    text = "\n".join(["who,what,stars,when", *lines, repeated, ""])
    Path("mine.csv").write_text(text)
    Path("titles.csv").write_text("id,title\ni0,Nought\n")
    named = "--user-column=who --item-column=what --rating-column=stars --time-column=when"
    arguments = ["evaluate", "--data", "mine.csv", "--folder", "run", *SMALL, *named.split()]

    assert main(arguments) == 2
    assert "keep the latest with --duplicates last" in capsys.readouterr().err
    assert main([*arguments, "--duplicates=last", "--scale=1:5:1"]) == 2
    assert "not on the scale 1 to 5" in capsys.readouterr().err

    described = ["--duplicates=last", "--scale=0:5:0.5", "--items-file=titles.csv"]
    assert main([*arguments, *described]) == 0
    assert report_of(tmp_path / "run").data.ratings == len(ratings)


@pytest.mark.parametrize("text", ["1:5", "1:5:one", "5:1:1", "1:5:0", "1:5:nan", "1:inf:1"])
def test_what_is_no_scale_is_told(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--data", "mine.csv", "--scale", text])
    assert ended.value.code == 2
    assert f"--scale: {text!r}" in capsys.readouterr().err


def test_a_run_is_resumed_only_as_it_was_started(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "--data", DATA, "--folder", "run", *SMALL]
    assert main(arguments) == 0
    assert main([*arguments, "--resume", "--seed", "5"]) == 2
    assert "another configuration" in capsys.readouterr().err


def test_a_graph_that_answers_otherwise_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import training.export as export
    from tests.tiny import tiny_ratings
    from training.evaluation.predictor import GAUSSIAN_80
    from training.fitting.initial import build_network
    from training.onnx_files import share_weights
    from training.publish import Figures, publish

    ratings = tiny_ratings()
    split = split_ratings(ratings, "random", 42)
    configuration = load_configuration("proven", [option[6:] for option in SMALL])
    network = build_network(ratings, split.fit, configuration).eval()
    write = share_weights

    def write_other_weights(graphs: list) -> None:  # type: ignore[type-arg]
        write(graphs)
        path = graphs[0][1].parent / "weights.bin"
        content = np.fromfile(path, np.float32)
        content[: len(content) // 2] += 0.5
        content.tofile(path)

    monkeypatch.setattr(export, "share_weights", write_other_weights)
    with pytest.raises(ExportError, match="disagree"):
        publish(
            network, ratings, split, configuration, Figures({}, {}), GAUSSIAN_80, "x",
            tmp_path / "bundle",
        )  # fmt: skip
    assert not (tmp_path / "bundle").exists()


def test_rankings_are_equal_up_to_ties() -> None:
    items = np.array([[3, 1, 2], [3, 1, 2]])
    scores = np.array([[2.0, 1.0, 1.0], [2.0, 1.0, -np.inf]])
    swapped = np.array([[3, 2, 1], [1, 3, 2]])
    nearly = scores + np.array([[0, 1e-6, -1e-6], [0, 0, 0]])
    assert same_ranking([items, scores], [items, scores]).tolist() == [True, True]
    other = np.array([[2.0, 1.0, 1.0], [2.5, 0.5, -np.inf]])
    assert same_ranking([items, scores], [swapped, nearly]).tolist()[0]
    assert same_ranking([items, scores], [swapped, other]).tolist() == [True, False]
    assert largest_difference(scores, nearly) == pytest.approx(1e-6)
