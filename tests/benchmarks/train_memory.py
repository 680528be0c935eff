"""Peak memory of training and evaluating on many ratings: no users x items matrix anywhere.

    python -m tests.benchmarks.train_memory                        10 million ratings, minutes
    python -m tests.benchmarks.train_memory --ratings 1000000 --users 7000 --items 3000

Runs `python -m training evaluate` on synthetic ratings for one epoch in a process of its own, test
rows and baselines included, and prints that process's peak resident memory. Exits 1 if the peak is
over --limit-gb. A users x items matrix of the default size would weigh 2.8 GB in float32.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time

GB = 1e9


def main() -> int:
    """Train once; 1 if that needed more than the limit, or failed."""
    arguments = _arguments()
    name = f"synthetic:users={arguments.users},items={arguments.items},ratings={arguments.ratings}"
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "training", "evaluate", "--data", name]
        command += ["--folder", folder, "--set", "training.max_epochs=1"]
        code = subprocess.run(command).returncode
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / GB  # Linux: KiB
    seconds = time.perf_counter() - began
    print(f"{name}: {seconds:.0f} s, peak {peak_gb:.2f} GB, allowed {arguments.limit_gb:.2f} GB")
    return code or int(peak_gb > arguments.limit_gb)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, default=70_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--ratings", type=int, default=10_000_000)
    parser.add_argument("--limit-gb", type=float, default=4.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
