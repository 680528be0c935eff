"""What every test starts from: fixed seeds, none of the caller's settings, its own model store."""

from __future__ import annotations

import os
import signal
import tempfile

import pytest
from hypothesis import settings

pytest_plugins = [
    "tests.service_fixtures", "tests.bento_fixtures", "tests.report_fixtures", "tests.browser",
    "tests.container_engine", "tests.kubernetes_cluster",
]  # fmt: skip

settings.register_profile("usher", derandomize=True, deadline=None)
settings.load_profile("usher")

STORE = tempfile.TemporaryDirectory(prefix="usher-tests-")


def pytest_configure(config: pytest.Config) -> None:
    """Before anything of BentoML is imported: its store is temporary and it calls nobody."""
    for name in [name for name in os.environ if name.startswith("USHER_")]:
        if name != "USHER_DATA_DIR":
            del os.environ[name]
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    # Shells start background jobs with Ctrl-C ignored, which every process of theirs inherits.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["BENTOML_HOME"] = STORE.name
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that import onnxruntime before us


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the store."""
    STORE.cleanup()
