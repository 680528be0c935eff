"""How the KL weight and the learning rate change over a run: pure functions of the epoch."""

from __future__ import annotations

import math

from training.config import KullbackLeibler


def kl_weight(kl: KullbackLeibler, epoch: float) -> float:
    """The KL weight at an epoch counted from 0 (fractions allowed).

    linear: weight * t; cosine: weight * (1 - cos(pi t)) / 2, with t = epoch / annealing_epochs up
    to 1 (KL annealing, Bowman et al. 2016).
    """
    if kl.schedule == "constant" or epoch >= kl.annealing_epochs:
        return kl.weight
    t = epoch / kl.annealing_epochs
    return kl.weight * (t if kl.schedule == "linear" else (1 - math.cos(math.pi * t)) / 2)


def warmup_factor(step: int, warmup_steps: int) -> float:
    """Share of the learning rate at a step counted from 0: linear up to 1 (Goyal et al. 2017)."""
    return min(1.0, (step + 1) / max(warmup_steps, 1))
