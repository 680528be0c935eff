"""The service on this machine with all it needs: a Redis of each kind where none is configured."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from service.local.bento_server import LocalService, local_service
from service.local.redis_server import CACHE, RATINGS, shared_redis

POINTER = "active-model"


def name_pointer(environment: MutableMapping[str, str], state: Path) -> None:
    """Have the folder's pointer file followed, unless a model is named."""
    if not environment.get("USHER_MODEL"):
        environment.setdefault("USHER_MODEL_POINTER", str(state / POINTER))


@contextmanager
def running_service(port: int, state: Path, stop: threading.Event) -> Iterator[LocalService]:
    """The service with what it needs, ready unless `stop` was set; all of it ends with the block.

    Raises LocalError if a part of it does not start.
    """
    environment = dict(os.environ)
    name_pointer(environment, state)
    with ExitStack() as stack:
        for role, name in ((CACHE, "USHER_CACHE_URL"), (RATINGS, "USHER_RATINGS_URL")):
            if not environment.get(name):
                environment[name] = stack.enter_context(shared_redis(role, state))
        log = state / "logs" / f"serve-{port}.log"
        service = stack.enter_context(local_service(port, log, environment))
        service.wait_until_ready(stop)
        yield service
