"""Peak memory and time of reading and checking a large CSV of ratings.

    python tests/benchmarks/read_memory.py                      32 million rows, about a minute
    python tests/benchmarks/read_memory.py --ratings 3000000    a smaller one

Generates synthetic ratings into a temporary folder, reads them in a process of its own through the
same door as training does, and prints that process's seconds and peak resident memory. Exits 1 if
the peak is over --limit-gb. Needs about 1 GB of disk for 32 million rows.
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

PROJECT = Path(__file__).resolve().parents[2]
sys.path[0] = str(PROJECT)  # run as a file, as a module, from any folder

from training.ratings import Ratings  # noqa: E402
from training.sources import SourceSettings, load_ratings  # noqa: E402

PIECE_ROWS = 2_000_000
GB = 1e9


def main() -> int:
    """Run the measurement, or one of its two steps in a process of its own."""
    arguments = _arguments()
    if arguments.write:
        write_csv(load_ratings(arguments.name, SourceSettings()), arguments.write)
    elif arguments.read:
        read(arguments.read)
    else:
        return measure(arguments)
    return 0


def measure(arguments: argparse.Namespace) -> int:
    """Generate, then read in another process; 1 if that needed more than the limit."""
    name = f"synthetic:users={arguments.users},items={arguments.items},ratings={arguments.ratings}"
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "ratings.csv"
        _step("--write", path, "--name", name)
        print(f"{name}: {path.stat().st_size / GB:.2f} GB of CSV")
        peak_gb = float(_step("--read", path).rpartition(" ")[2])
    libraries = f"polars {pl.__version__}, numpy {np.__version__}"
    print(f"{libraries}, {platform.machine()}, {pl.thread_pool_size()} threads")
    print(f"peak {peak_gb:.2f} GB, allowed {arguments.limit_gb:.2f} GB")
    return int(peak_gb > arguments.limit_gb)


def write_csv(ratings: Ratings, path: Path) -> None:
    """Write ratings as CSV with the columns user, item, rating, time, in pieces."""
    user_ids = pl.Series(ratings.user_ids.astype(str))
    item_ids = pl.Series(ratings.catalog.ids)
    with path.open("wb") as stream:
        for start in range(0, len(ratings), PIECE_ROWS):
            rows = slice(start, start + PIECE_ROWS)
            columns = {
                "user": user_ids.gather(ratings.users[rows]),
                "item": item_ids.gather(ratings.items[rows]),
                "rating": ratings.values[rows],
                "time": None if ratings.times is None else ratings.times[rows],
            }
            pl.DataFrame(columns).write_csv(stream, include_header=start == 0)


def read(path: Path) -> None:
    """Read and check a file; print what was found, how long it took and the peak memory."""
    began = time.perf_counter()
    ratings = load_ratings(str(path), SourceSettings(time_column="time"))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    counts = f"{len(ratings):,} ratings, {len(ratings.user_ids):,} users"
    print(f"{counts}, {len(ratings.catalog):,} items read in {seconds:.1f} s, peak GB {peak / GB}")


def _step(*arguments: str | Path) -> str:
    """Run this file again with other arguments; what it printed, also shown."""
    command = [sys.executable, __file__, *map(str, arguments)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    if output:
        print(output)
    return output


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=87_000)
    parser.add_argument("--ratings", type=int, default=32_000_000)
    parser.add_argument("--limit-gb", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, help="where the temporary folder goes")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
