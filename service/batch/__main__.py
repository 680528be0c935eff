"""The top k of every user, written to Parquet, to the service's cache, or to both.

The model, both Redis and where the graphs run are the service's own settings, USHER_MODEL and the
like, from the environment. A run that was interrupted goes on when it is asked for once more.

Exit codes: 0 all is done; 2 something is in the way, and one sentence says what; 130 and 143
stopped by Ctrl-C or SIGTERM, with finished parts kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from models.bundle import BundleError
from service.api.parsing import check_values
from service.batch.order import Order
from service.batch.plan import canonical
from service.batch.progress import Progress
from service.batch.run import Outcome, recommend_all
from service.errors import ServiceError
from service.schemas import Selection
from service.settings import Settings, read_settings

REFUSED, INTERRUPTED, TERMINATED = 2, 128 + signal.SIGINT, 128 + signal.SIGTERM
PARAMETERS = ("k", "genre", "year_min", "year_max", "exclude", "include_seen")
PART_ROWS = 100_000  # some 1.3 MB of a file, and the same memory whatever k is
EXAMPLES = """examples:
  python -m service.batch --out tonight
  python -m service.batch --out comedies --k 20 --genre Comedy --year-min 1990
  python -m service.batch --warm-only --users active-users.txt
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if (asked.out is None) != asked.warm_only:
        parser.error("give either --out FOLDER or --warm-only")
    try:
        settings = read_settings()
        outcome = asyncio.run(_until_stopped(_order(asked), settings))
    except (BundleError, ServiceError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    except (KeyboardInterrupt, asyncio.CancelledError) as stop:
        print("Stopped; the same command goes on after the finished parts.", file=sys.stderr)
        return INTERRUPTED if isinstance(stop, KeyboardInterrupt) else TERMINATED
    return _report(outcome, asked.json, asked.warm_only)


def _report(outcome: Outcome, as_json: bool, warm_only: bool) -> int:
    if outcome.complaint is not None:
        print(outcome.complaint, file=sys.stderr)
    summary = outcome.summary
    print(json.dumps(asdict(summary), indent=1) if as_json else summary.text())
    failed = warm_only and summary.cache is not None and not summary.cache["stored"]
    return REFUSED if failed and summary.users else 0


async def _until_stopped(order: Order, settings: Settings) -> Outcome:
    """Do what is asked for; SIGTERM cancels it, as asyncio has Ctrl-C do."""
    work = asyncio.current_task()
    assert work is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    return await recommend_all(order, settings, Progress(sys.stderr, time.monotonic))


def _order(asked: argparse.Namespace) -> Order:
    """Raises InvalidRequest, naming the option that is out of bounds."""
    chosen = {name: getattr(asked, name) for name in PARAMETERS}
    selection = canonical(check_values(Selection, chosen, "option"))
    return Order(
        selection=selection,
        out=asked.out,
        users_file=asked.users,
        part_users=asked.part_users or PART_ROWS // selection.k,
        threads=asked.threads,
        again=asked.again,
        warm=asked.warm_cache or asked.warm_only,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service.batch",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, metavar="FOLDER", help="where the Parquet parts go: a folder of theirs")
    add("--k", type=int, default=10, help="how many items a user gets, 1 to 100 (10)")
    add("--genre", action="append", default=[], help="only items of this genre; may be repeated")
    add("--year-min", type=int, metavar="YEAR", help="only items of this year or later")
    add("--year-max", type=int, metavar="YEAR", help="only items of this year or earlier")
    add("--exclude", action="append", default=[], metavar="ITEM", help="never this item; as genre")
    add("--include-seen", action="store_true", help="items a user has rated may come too")
    add("--users", type=Path, metavar="FILE", help="only these users, an id a line (everybody)")
    add("--warm-cache", action="store_true", help="store the answers in USHER_CACHE_URL as well")
    add("--warm-only", action="store_true", help="store them there and write no Parquet")
    add("--again", action="store_true", help="replace what an earlier run has left in FOLDER")
    add("--part-users", type=_positive, metavar="N", help="users a part (100000 rows' worth)")
    add("--threads", type=_positive, default=_cores(), metavar="N", help="cores to use (all)")
    add("--json", action="store_true", help="print the summary as JSON")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return int(text)


def _cores() -> int:
    """Those this process may use, where the system tells."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
