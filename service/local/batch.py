"""`make recommend-all`: a batch with what serves from this folder, its model and both its Redis.

Like `service.local serve` it follows the pointer file and finds the ratings people gave here; a
cache is only warmed while a service holds it open, for it ends with the last of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from service.batch.__main__ import REFUSED
from service.batch.__main__ import main as batch
from service.local.bento_server import ROOT
from service.local.redis_server import CACHE, RATINGS, LocalError, runs, shared_redis
from service.local.running import name_pointer


def main(arguments: Sequence[str] | None = None) -> int:
    """The options of `service.batch` and --state; returns the exit code."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--state", type=Path, default=ROOT / ".usher")
    own, options = parser.parse_known_args(arguments)
    state = own.state.resolve()
    os.environ.setdefault("BENTOML_HOME", str(state / "bentoml"))
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    name_pointer(os.environ, state)
    with ExitStack() as stack:
        try:
            for role, name in ((CACHE, "USHER_CACHE_URL"), (RATINGS, "USHER_RATINGS_URL")):
                if not os.environ.get(name) and (role is RATINGS or runs(role, state)):
                    os.environ[name] = stack.enter_context(shared_redis(role, state))
        except LocalError as error:
            print(error, file=sys.stderr)
            return REFUSED
        return batch(options)


if __name__ == "__main__":
    sys.exit(main())
