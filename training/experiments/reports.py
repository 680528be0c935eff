"""The report that a run of the record left there, fetched into a folder of its own."""

from __future__ import annotations

from pathlib import Path

from training.errors import DataError
from training.experiments.listing import listed_runs
from training.experiments.store import open_store, quietly
from training.report.record import REPORT


def fetched_report(run: str, state: Path, target: Path) -> Path:
    """Copy the report of the run whose id begins so to `target`/id; DataError if there is none."""
    found = [listed for listed in listed_runs(state) if listed.run_id.startswith(run)]
    if len(found) != 1:
        many = f"{len(found)} runs with ids that begin with" if found else "no run with the id"
        raise DataError(f"The experiment record has {many} {run}: make experiments prints them.")
    listed = found[0]
    folder = target / listed.run_id
    folder.mkdir(parents=True, exist_ok=True)
    with quietly():
        client = open_store(state)
        if REPORT not in {artifact.path for artifact in client.list_artifacts(listed.run_id)}:
            raise DataError(
                f"The run {run} ({listed.name}, {listed.outcome}) left no report; only finished "
                "runs of make train, make evaluate and networks of make accuracy do."
            )
        return Path(client.download_artifacts(listed.run_id, REPORT, str(folder)))
