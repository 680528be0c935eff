"""Where the record is kept: MLflow's file store, quiet, local, with no server.

`MLFLOW_TRACKING_URI` names another store. MLflow takes most of a second to import, so only opening
a store imports it. Its file store is in maintenance and must be asked for by name; the database it
would rather have needs SQLAlchemy, and mlflow-skinny comes without.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER = "mlruns"
QUIET = {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "DO_NOT_TRACK": "true",
}


@contextmanager
def quietly() -> Iterator[None]:
    """No warnings of MLflow's own affairs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_store(state: Path) -> MlflowClient:
    """The store named in the environment, or the one under the folder of states.

    Raises whatever MLflow raises if there is no such store.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with quietly():
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        return MlflowClient(store_address(state))


def store_address(state: Path) -> str:
    """MLFLOW_TRACKING_URI, or the address of the folder of our own."""
    return os.environ.get("MLFLOW_TRACKING_URI") or (state.resolve() / FOLDER).as_uri()
