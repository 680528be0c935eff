"""Finished runs for whoever looks at reports: small, real, made once by the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_run import DATA, SMALL
from training.__main__ import main
from training.ensembles.ensemble_report import Price
from training.report import RunReport, read_report

HOSTILE = "</title><script>alert('&')</script>"
MEMBERS = "--set=ensemble=[{name: first}, {name: second, seed_offset: 10}]"
RUNS: dict[str, list[str]] = {
    "one": [],
    "two": ["--seed=2", "--set=training.max_epochs=5", "--set=training.kl.weight=0.5"],
    "users": ["--protocol=users"],
    "liked": ["--protocol=users-liked"],
    "ensemble": [MEMBERS],
}


@dataclass(frozen=True)
class FinishedRuns:
    """home: the folder that the commands ran in."""

    home: Path

    def folder(self, name: str) -> Path:
        """Where a run of RUNS, or `mine`, has left what it made."""
        return self.home / ".usher" / "runs" / name

    def report(self, name: str) -> RunReport:
        """Its report."""
        return read_report(self.folder(name) / "report.json")


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory) -> FinishedRuns:
    """Runs of every kind, in the record of their home too; nobody may change them."""
    runs = FinishedRuns(tmp_path_factory.mktemp("finished-runs"))
    price = Price(weight_bytes=1_500_000, milliseconds=1.25)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(runs.home)
        # Exporting every member to see what it costs takes longer than all the rest of a run.
        patch.setattr("training.ensembles.ensemble_estimator.price_of", lambda *arguments: price)
        for name, arguments in RUNS.items():
            _evaluate("--data", DATA, "--folder", str(runs.folder(name)), *arguments)
        files = ("--data=mine.csv", "--items-file=titles.csv")
        _write_ratings()
        _evaluate(*files, "--folder", str(runs.folder("mine")))
    return runs


def _evaluate(*arguments: str) -> None:
    assert main(["evaluate", *SMALL, *arguments]) == 0


def _write_ratings() -> None:
    """Ratings 1 to 50 (fifty levels) of items with a title that must not be taken for markup."""
    rows = [
        f"u{user},i{item},{(7 * user + 3 * item) % 50 + 1}"
        for user in range(40)
        for item in range(30)
        if (user + item) % 2
    ]
    Path("mine.csv").write_text("\n".join(["user,item,rating", *rows, ""]))
    titles = [f'i{item},"{HOSTILE}"' for item in range(30)]
    Path("titles.csv").write_text("\n".join(["item,title", *titles, ""]))
