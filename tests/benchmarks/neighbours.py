"""Seconds and memory to find the nearest neighbours of as many items as MovieLens 32M has.

    python -m tests.benchmarks.neighbours [--items 87585]

Vectors are random and as long as those of the shipped configurations (about 200 numbers).
"""

from __future__ import annotations

import argparse
import platform
import resource
import time

import numpy as np
import torch

from training.neighbours import item_columns

WIDTH = 200


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=87_585)
    items: int = parser.parse_args().items
    vectors_ID = torch.randn(items, WIDTH, generator=torch.Generator().manual_seed(0))
    counts = np.full(items, 50, np.int32)
    start = time.perf_counter()
    columns = item_columns(vectors_ID, counts)
    seconds = time.perf_counter() - start
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{items:,} items, {columns.neighbours.shape[1]} neighbours each: {seconds:.1f} s with "
        f"{torch.get_num_threads()} threads, peak {peak_gb:.2f} GB; torch {torch.__version__}, "
        f"{platform.machine()}"
    )


if __name__ == "__main__":
    main()
