"""Which report is meant: the newest, a folder, a file, or a run of the experiment record."""

from __future__ import annotations

import re
from pathlib import Path

from training.errors import DataError
from training.report.record import REPORT
from training.suggestions import meant

RUNS = "runs"
FETCHED = "reports"
NEWEST = "newest-report"
RUN_ID = re.compile(r"[0-9a-f]{6,32}")


def note_newest(report: Path, state: Path) -> None:
    """Keep where the newest report is: a run may have a folder anywhere."""
    state.mkdir(exist_ok=True)
    (state / NEWEST).write_text(str(report.resolve()))


def newest_report(state: Path) -> Path:
    """The report written last, in the folder of runs or where the last run was told to go.

    Raises DataError if there is none.
    """
    found = list((state / RUNS).glob(f"**/{REPORT}"))
    noted = state / NEWEST
    if noted.is_file() and (elsewhere := Path(noted.read_text())).is_file():
        found.append(elsewhere)
    if not found:
        raise DataError(
            f"No run has left a report in {state / RUNS}: make train or make evaluate first, or "
            "name the folder of a run."
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def report_path(name: str, state: Path) -> Path:
    """The report.json of a folder, of a folder's name in the folder of runs, or of a run's id.

    The report of a run id is fetched into the state's folder. Raises DataError if there is none.
    """
    if not name.strip():
        raise DataError(f"A run must be named: the folder that holds its {REPORT}, or its id.")
    for folder in (Path(name).expanduser(), state / RUNS / name):
        if folder.is_dir():
            return _inside(folder)
    if Path(name).is_file():
        return Path(name)
    if RUN_ID.fullmatch(name):
        from training.experiments.reports import fetched_report  # MLflow loads when it is needed

        return fetched_report(name, state, state / FETCHED)
    known = [path.parent.name for path in (state / RUNS).glob(f"*/{REPORT}")]
    raise DataError(
        f"There is no run called {name!r}{meant(name, known)}: name the folder that holds its "
        f"{REPORT}, or an id that make experiments prints."
    )


def _inside(folder: Path) -> Path:
    path = folder / REPORT
    if not path.is_file():
        raise DataError(
            f"{folder} holds no {REPORT}: a run writes it when it is done, and none when it is "
            "interrupted; go on with --resume, or name another folder."
        )
    return path
