"""BentoML and the interpreter, tuned for many short requests; each choice has its reason here.

BentoML's request timeout makes a task and a timer for every request, and its timers keep each
request alive until they expire, for full garbage collections to walk. The gateway has a timeout
that costs nothing once the request has ended, so BentoML's is taken out. Its metrics keep a time
series for every address, that is for every user; `service.metrics` has bounded ones instead. Its
access log and traces are off.

Workers share their counts through a folder that BentoML empties when a service starts, one for
all services of a BENTOML_HOME; here each service has its own.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import bentoml
import psutil
from bentoml._internal.configuration.containers import BentoMLContainer
from starlette.applications import Starlette
from starlette.types import ASGIApp


def wanted_workers() -> int:
    """What USHER_WORKERS says; 1 where it says nothing, or nonsense, which refuses to start later.

    BentoML wants to know when the service is imported, where nothing may be refused.
    """
    said = os.environ.get("USHER_WORKERS", "1").strip()
    return max(1, int(said)) if said.isdecimal() else 1


TUNED: dict[str, Any] = {
    "workers": wanted_workers(),
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
    "tracing": {"excluded_urls": ".*"},
}


class Composition(Protocol):
    """What a worker puts into and around the application that BentoML makes."""

    @property
    def mounts(self) -> Sequence[tuple[ASGIApp, str]]:
        """Applications beside BentoML's routes, and below which path."""
        ...

    def behind_gateway(self, app: ASGIApp) -> ASGIApp:
        """The application with what every request passes first."""
        ...


class TunedService(bentoml.Service):  # type: ignore[misc]
    """A BentoML service without BentoML's request timeout and spans, composed by its worker."""

    worker: Callable[[], Composition]
    """To be set before there is a worker, and called in workers alone."""

    def to_asgi(self, is_main: bool = True) -> Any:
        """The worker's application. Leaves the timeout and traces to the gateway."""
        # Imported here: the supervisor of the workers needs neither.
        from bentoml._internal.server.http.traffic import TimeoutMiddleware
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        composition = self.worker()
        if not self.mount_apps:  # tests ask for more than one application
            for mounted, path in composition.mounts:
                self.mount_asgi_app(mounted, path=path)
        app = super().to_asgi(is_main)
        assert isinstance(app, Starlette)
        out: tuple[Any, ...] = (TimeoutMiddleware, OpenTelemetryMiddleware)
        app.user_middleware = [m for m in app.user_middleware if m.cls not in out]
        return composition.behind_gateway(app)


def settle_garbage_collector() -> None:
    """What is loaded by now stays: never walk it again, and look at new objects less often."""
    gc.collect()
    gc.freeze()
    give_back_memory()
    gc.set_threshold(50_000, 50, 100)


def give_back_memory() -> None:
    """Let the system have what loading has left unused; only glibc needs to be told."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def prefer_large_pages() -> None:
    """Have the workers, should this process come to supervise any, ask for large pages of memory.

    A run of the graph walks through tens of megabytes; on a virtual machine looking up where each
    4 kB of them lies took a sixth of its time. glibc's malloc only asks: where the system gives no
    large pages (transparent_hugepage=never), nothing changes.
    """
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")


def name_own_counts_folder() -> None:
    """Have BentoML use a folder of this process, should it come to supervise workers."""
    BentoMLContainer.prometheus_multiproc_dir.set(str(_counts_folders() / str(os.getpid())))


def sweep_counts_folders() -> None:
    """Remove the folders of services that were killed, and this one's when it ends."""
    for folder in _counts_folders().glob("*"):
        if folder.name.isdigit() and not psutil.pid_exists(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)
    atexit.register(shutil.rmtree, _counts_folders() / str(os.getpid()), ignore_errors=True)


def _counts_folders() -> Path:
    return Path(BentoMLContainer.bentoml_home.get()) / "usher-counts"
