"""What fitting in several processes costs and gives: the same validation RMSE, other seconds.

    python -m tests.benchmarks.processes                                proven on ml-1m, 3 seeds
    python -m tests.benchmarks.processes --data ml-100k --epochs 5 --seeds 1

Fits one configuration on the fit rows in one process and in two, from each seed, and prints the
best RMSE on the validation rows, the seconds it took and the peak resident memory of every process:
of the one that reads the ratings first, then of those that fit. Exits 1 if the mean RMSE of two
processes is further than --bound from that of one. Writes results/processes.json. Every fit has
processes of its own, of one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.serving.record import machine
from training.accuracy.revision import revision
from training.cluster import Cluster
from training.config import load_configuration
from training.fitting.processes import Processes
from training.fitting.trainer import choose
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings

ROOT = Path(__file__).resolve().parent.parent.parent
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
MB = 1e6


@dataclass(frozen=True)
class Fit:
    """One fit. seconds: of all of it, from dealing out users to the network."""

    processes: int
    seed: int
    rmse: float
    ndcg: float
    epoch: int
    epochs: int
    seconds: float
    peak_mb: tuple[int, ...] = ()

    @property
    def seconds_per_epoch(self) -> float:
        """Starting processes included."""
        return self.seconds / self.epochs


def main(words: list[str] | None = None) -> int:
    """Measure; 1 if several processes do not come to what one does."""
    arguments = _arguments(words)
    if arguments.fit is not None:
        print(json.dumps(asdict(fit(arguments, arguments.fit, arguments.seeds[0]))))
        return 0
    fits = []
    for seed in arguments.seeds:
        for processes in (1, arguments.processes):
            fits.append(_in_a_process(arguments, processes, seed))
            print(fits[-1], flush=True)
    summary = summed_up(fits)
    print(json.dumps(summary, indent=1))
    arguments.record.write_text(json.dumps(_record(arguments, fits, summary), indent=1) + "\n")
    return int(abs(summary["difference"]) > arguments.bound)


def fit(arguments: argparse.Namespace, processes: int, seed: int) -> Fit:
    """Fit here, or in processes started from here."""
    ratings = load_ratings(arguments.data, SourceSettings.from_environment(os.environ))
    wanted = [*arguments.set, f"training.max_epochs={arguments.epochs}", f"seed={seed}"]
    configuration = load_configuration(arguments.config, wanted)
    split = split_ratings(ratings, arguments.protocol, 42)
    rows, fold, began = split.fit, split.validation, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if processes == 1:
            fitted = choose(ratings, rows, fold, configuration, Path(folder), _tell, progress=False)
        else:
            fitted = Processes(
                Cluster(processes), ratings, configuration, Path(folder), _tell, progress=False
            ).choose(rows, fold)
    best, seconds = fitted.history[fitted.epochs - 1].figures, time.monotonic() - began
    return Fit(
        processes, seed, best["validation_rmse"], best["validation_ndcg"], fitted.epochs,
        len(fitted.history), round(seconds, 1),
    )  # fmt: skip


def summed_up(fits: list[Fit]) -> dict[str, Any]:
    """Both means over seeds, their difference, that of each seed, and how far seeds are apart."""
    one = [each for each in fits if each.processes == 1]
    several = [each for each in fits if each.processes != 1]
    rmse_one, rmse_several = ([each.rmse for each in part] for part in (one, several))
    differences = [b - a for a, b in zip(rmse_one, rmse_several, strict=True)]
    return {
        "rmse_one": round(statistics.mean(rmse_one), 5),
        "rmse_several": round(statistics.mean(rmse_several), 5),
        "difference": round(statistics.mean(differences), 5),
        "differences": [round(difference, 5) for difference in differences],
        "spread_of_seeds_one": round(max(rmse_one) - min(rmse_one), 5),
        "seconds_per_epoch_one": round(statistics.median(f.seconds_per_epoch for f in one), 2),
        "seconds_per_epoch_several": round(
            statistics.median(f.seconds_per_epoch for f in several), 2
        ),
    }


def _in_a_process(arguments: argparse.Namespace, processes: int, seed: int) -> Fit:
    command = [sys.executable, "-m", "tests.benchmarks.processes", "--fit", str(processes)]
    for name in ("data", "config", "protocol", "epochs"):
        command += [f"--{name}", str(getattr(arguments, name))]
    command += ["--seeds", str(seed)]
    for override in arguments.set:
        command += ["--set", override]
    with subprocess.Popen(
        command, cwd=ROOT, env=dict(os.environ) | ONE_THREAD, stdout=subprocess.PIPE, text=True
    ) as child:
        family = Family(child.pid)
        answer, _ = child.communicate()
        family.stop()
    if child.returncode:
        raise SystemExit(child.returncode)
    return Fit(**json.loads(answer) | {"peak_mb": family.peaks_mb()})


class Family:
    """The peak resident memory of a process and of those that it starts, looked at meanwhile."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peaks_kb: dict[int, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def peaks_mb(self) -> tuple[int, ...]:
        """Of the process itself, then of the others, in the order of their numbers."""
        return tuple(round(peak * 1024 / MB) for _, peak in sorted(self._peaks_kb.items()))

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            try:
                process = psutil.Process(self._pid)
                for member in (process, *process.children(recursive=True)):
                    self._look(member.pid)
            except (psutil.NoSuchProcess, FileNotFoundError):  # ended since it was listed
                continue

    def _look(self, pid: int) -> None:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                self._peaks_kb[pid] = int(line.split()[1])


def _record(
    arguments: argparse.Namespace, fits: list[Fit], summary: dict[str, Any]
) -> dict[str, Any]:
    asked = {name: getattr(arguments, name) for name in ("data", "protocol", "config", "set")}
    return {
        "code": revision(ROOT),
        "machine": machine(("lightning", "numpy", "torch")),
        **asked,
        "most_epochs": arguments.epochs,
        "threads_per_process": 1,
        "bound": arguments.bound,
        "summary": summary,
        "fits": [asdict(each) for each in fits],
    }


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="ml-1m")
    parser.add_argument("--protocol", default="random-1234")
    parser.add_argument("--config", default="proven")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--epochs", type=int, default=30, help="the most that a fit takes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--bound", type=float, default=0.003)
    parser.add_argument("--record", type=Path, default=ROOT / "results" / "processes.json")
    parser.add_argument("--fit", type=int, metavar="PROCESSES", help=argparse.SUPPRESS)
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
