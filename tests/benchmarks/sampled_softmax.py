"""What sampling negatives saves a training step: time and peak memory, full softmax against sample.

    python -m tests.benchmarks.sampled_softmax
    python -m tests.benchmarks.sampled_softmax --users 256 --negatives 4000

Runs steps of `proven` (encode, loss, gradients, AdamW) on one batch of synthetic histories over a
catalogue as large as that of MovieLens 32M, each variant in a process of its own, and prints the
least CPU time of a step with and without the optimiser, and the peak resident memory. AdamW
and the gradients go through all three item tables whatever the loss: that is the same for both.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import torch

from models.histories import Histories
from models.networks.hybrid_vae import HybridVAE
from training.config import load_configuration
from training.fitting.batches import DenoisingBatches
from training.fitting.learner import Learner
from training.fitting.negatives import Proposal
from training.fitting.watch import Watch

RATINGS_PER_USER = 165


def main() -> int:
    """Measure the variant named by --only, or both and their ratio."""
    arguments = _arguments()
    if arguments.only is not None:
        print(*_measure(arguments.items, arguments.users, arguments.only, arguments.steps))
        return 0
    full = _in_a_process(arguments, 0)
    sampled = _in_a_process(arguments, arguments.negatives)
    names = ("loss and gradients, CPU ms", "whole step, CPU ms", "peak memory, MB")
    print(f"{arguments.items} items, {arguments.users} users, {arguments.negatives} negatives")
    for name, before, after in zip(names, full, sampled, strict=True):
        print(f"  {name:26} full {before:7.0f}  sampled {after:7.0f}  ratio {after / before:.2f}")
    return 0


def _in_a_process(arguments: argparse.Namespace, negatives: int) -> list[float]:
    command = [sys.executable, "-m", "tests.benchmarks.sampled_softmax", "--only", str(negatives)]
    for name in ("items", "users", "steps"):
        command += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def _measure(items: int, users: int, negatives: int, steps: int) -> tuple[float, float, float]:
    """Least CPU ms of a step without and with the optimiser, and peak memory in MB."""
    configuration = load_configuration("proven")
    histories = _histories(items, users)
    proposal = Proposal.of(histories, items, 4.0, negatives) if negatives else None
    batches = DenoisingBatches(histories, users, (0.05, 0.5), 4.0, 0, proposal=proposal)
    network = HybridVAE(configuration.network, items, torch.arange(0.5, 5.5, 0.5), 3.5)
    learner = Learner(network, configuration.training, 1, Watch(lambda text: None))
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    backward_ms, step_ms = [], []
    for epoch in range(steps):
        batches.epoch = epoch
        (batch,) = batches
        began = time.process_time()
        optimizer.zero_grad()
        learner(batch).total.backward()
        backward_ms.append((time.process_time() - began) * 1e3)
        optimizer.step()
        step_ms.append((time.process_time() - began) * 1e3)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux: KiB
    return min(backward_ms), min(step_ms), peak_mb


def _histories(items: int, users: int) -> Histories:
    rng = np.random.default_rng(0)
    rated = (items * rng.random(users * RATINGS_PER_USER) ** 4).astype(np.int64)
    whose = np.repeat(np.arange(users), RATINGS_PER_USER)
    pairs = np.unique(np.column_stack([whose, rated]), axis=0)
    stars = rng.integers(1, 11, len(pairs)) / 2
    return Histories.from_columns(pairs[:, 0], pairs[:, 1], stars, users)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=87_585)
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument("--negatives", type=int, default=2_000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", type=int, help="measure this many negatives in this process")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
