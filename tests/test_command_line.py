"""The command line as a tool: help that is true, exit codes that are kept, results alone.

What `train --json` prints is tested where a model is trained, in test_run.py.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.local.command_line import parser as local_parser
from tests.report_fixtures import FinishedRuns
from tests.service_fixtures import await_condition
from tests.test_run import DATA, SMALL
from training.__main__ import main
from training.command_line import parser

ROOT = Path(__file__).resolve().parent.parent
PARSERS = {"python -m training": parser, "python -m service.local": local_parser}


def commands(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = [a for a in of._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(action.choices)


def every_parser() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for program, build in PARSERS.items():
        yield program, build()
        for name, sub in commands(build()).items():
            yield f"{program} {name}", sub


ALL = dict(every_parser())


@pytest.mark.parametrize("name", ALL)
def test_help_names_every_option_and_its_default(name: str) -> None:
    whole = " ".join(ALL[name].format_help().split())
    for action in ALL[name]._actions:
        formatter = ALL[name]._get_formatter()
        formatter.add_argument(action)
        told = " ".join(formatter.format_help().split())
        assert told in whole
        assert all(option in told for option in action.option_strings)
        tells_itself = {"help", "version"} & {action.dest}
        if action.option_strings and not action.required and not tells_itself:
            (default,) = re.findall(r"\(default: ([^)]+)\)", told)
            assert default != "None"
            if action.default not in (None, False, True, []) and not isinstance(
                action.default, list
            ):
                assert str(action.default) in default or action.dest == "state"


@pytest.mark.parametrize("name", ALL)
def test_examples_of_help_can_be_asked(name: str) -> None:
    told = ALL[name].format_help()
    examples = [line.strip() for line in told.splitlines() if line.startswith("  python -m ")]
    assert examples
    for example in examples:
        words = shlex.split(example)
        parsed = PARSERS[" ".join(words[:3])]().parse_args(words[3:])
        assert parsed.command == words[3]
    own = name.split()[3:]
    assert not own or all(f" {own[0]}" in example for example in examples)


@pytest.mark.parametrize("name", ALL)
def test_help_documents_every_exit_code(name: str) -> None:
    told = ALL[name].format_help()
    codes = re.findall(r"^  (\d+)  +\w", told[told.index("exit codes:") :], re.MULTILINE)
    assert codes == ["0", "1", "2", "130"]


def test_a_command_that_knows_json_says_what_it_prints() -> None:
    for name, sub in ALL.items():
        if any("--json" in action.option_strings for action in sub._actions):
            assert "with --json:" in sub.format_help(), name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--config", "smal", "--json"], "did you mean small"),
        (["evaluate", "--data", "ml1m", "--json"], "did you mean ml-1m"),
        (["ablate", "--data", "synthetik", "--json"], "did you mean synthetic?"),
        (["accuracy", "--only", "ml-1m:nobody", "--json"], "Nothing to measure matches"),
        (["report", "absent", "--json"], "no run called 'absent'"),
        (["compare", "absent", "gone", "--json"], "no run called 'absent'"),
    ],
)
def test_a_refusal_is_one_sentence_and_no_result(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("usher: ")
    assert said in told.err
    assert len(told.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: command"),
        (["trian"], "there is no 'trian' (did you mean train?), only train, evaluate"),
        (["experiments", "--by", "rsme"], "there is no 'rsme' (did you mean rmse?)"),
        (["train", "--seed", "one"], "invalid int value: 'one'"),
        (["compare", "one"], "the following arguments are required: b"),
        (["report", "--wrong"], "unrecognized arguments: --wrong"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence_too(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert told.err.startswith("usher: ")
    assert len(told.err.splitlines()) == 1


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    version = re.search('^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    for ask in (main, lambda arguments: local_parser().parse_args(arguments)):
        with pytest.raises(SystemExit) as ended:
            ask(["--version"])
        assert not ended.value.code
        assert capsys.readouterr().out.startswith(f"usher {version[1]}")


def test_a_mistake_of_our_own_ends_with_1_and_a_traceback(tmp_path: Path) -> None:
    program = (
        "import sys, training.__main__ as m\n"
        "m.COMMANDS['evaluate'] = lambda *given: 1 / 0\n"
        "sys.exit(m.main(['evaluate']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert done.stdout == ""


def test_what_cannot_be_measured_is_told_by_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USHER_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setattr("training.sources.location.download", _unreachable)
    assert main(["accuracy", "--only", "ml-1m:random-1234:bias", "--json"]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out) == []
    assert "ml-1m:random-1234 is not measured" in told.err


def _unreachable(*asked: object) -> None:
    from training.sources.download import NetworkError

    raise NetworkError("no network")


def test_ctrl_c_ends_with_130_and_leaves_no_report(tmp_path: Path) -> None:
    arguments = ["evaluate", "--data", DATA, "--folder", "run", *SMALL, "--json",
                 "--set=training.max_epochs=5000", "--set=training.patience=5000"]  # fmt: skip
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("report.json", "report.html"):
        (folder / name).write_text("of an earlier run")
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        await_condition((folder / "epochs.json").exists, "an epoch is over", timeout_s=120)
        process.send_signal(signal.SIGINT)
        printed, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, told
    assert printed == ""
    assert "--resume goes on" in told
    assert not list(folder.glob("report.*"))


def test_a_reader_that_has_had_enough_is_no_mistake(finished_runs: FinishedRuns) -> None:
    command = f"{shlex.quote(sys.executable)} -m training compare one two --json | head -1"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=finished_runs.home, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "{\n"
    assert "rror" not in done.stderr


def test_looking_back_loads_no_torch() -> None:
    program = (
        "import sys, training.__main__, training.commands.look_back\n"
        "sys.exit('torch' in sys.modules or 'mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
