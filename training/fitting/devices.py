"""Where a fit computes: one device of any kind, or one for each process by Lightning's DDP.

`training.fitting.processes` starts the processes; here they are only told of each other.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from training.world import World

SILENCE = timedelta(minutes=10)
"""How long a process waits for an answer of the others before it gives up."""


def devices_of(world: World) -> dict[str, Any]:
    """What Lightning's trainer is told."""
    if world.size == 1:
        return {"accelerator": "auto", "devices": 1}
    each = world.size // world.machines
    # Buffers do not change, or change alike: sending them anew at every step would be waste.
    strategy = DDPStrategy(
        cluster_environment=LightningEnvironment(), timeout=SILENCE,
        broadcast_buffers=False, gradient_as_bucket_view=True,
    )  # fmt: skip
    return {
        "accelerator": accelerator(each), "devices": each, "num_nodes": world.machines,
        "strategy": strategy,
    }  # fmt: skip


def accelerator(processes: int) -> str:
    """What this many processes of a machine compute on: a GPU each, if there are enough."""
    return "cuda" if torch.cuda.device_count() >= processes else "cpu"
