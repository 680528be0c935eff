"""What one run is asked to do, and the folder that is its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.cluster import ONE, Cluster
from training.config import Configuration
from training.errors import ConfigurationError
from training.ratings import Ratings
from training.report.record import PAGE, REPORT
from training.split import Split

CLAIM = "configuration.json"


@dataclass(frozen=True)
class Request:
    """What to run, and how to tell a person about it."""

    ratings: Ratings
    split: Split
    configuration: Configuration
    folder: Path
    say: Callable[[str], None]
    resume: bool = False
    progress: bool = True
    state: Path = Path(".usher")
    """Where teachers are kept, and the environments of their libraries."""
    pairwise: bool = False
    """Whether the pairwise VAE of the notes joins the baselines: it takes much longer."""
    cluster: Cluster = ONE
    """Who fits networks; teachers, the closed form and all figures are the work of one process."""

    @property
    def refits(self) -> bool:
        """Whether the chosen is fitted again: it is asked for, and there are more rows."""
        split = self.split
        return self.configuration.refit and not np.array_equal(split.fit, split.refit)


def claim_folder(request: Request) -> None:
    """Write what runs here into its folder; a resumed run must be the same one.

    What an earlier run reported there goes. Of several machines the first writes, for they may
    share the folder. Raises ConfigurationError if it is another one.
    """
    request.folder.mkdir(parents=True, exist_ok=True)
    path = request.folder / CLAIM
    content: dict[str, Any] = {
        "configuration": request.configuration.model_dump(mode="json"),
        "data": request.ratings.digest,
        "split": request.split.digest,
    }
    if request.cluster.size > 1:  # who has which users depends on it
        content["processes"] = request.cluster.size
    if request.resume and path.exists() and json.loads(path.read_text()) != content:
        raise ConfigurationError(
            f"The run in {request.folder} was started with another configuration, data, split or "
            "number of processes; resume it as it was, or start anew without --resume."
        )
    if request.resume and not path.exists():
        request.say(f"There is nothing to resume in {request.folder}; the run starts anew.")
    if not request.cluster.leads:
        return
    for name in (REPORT, PAGE):  # an earlier run's would be taken for this one's
        (request.folder / name).unlink(missing_ok=True)
    path.write_text(json.dumps(content, indent=2))
