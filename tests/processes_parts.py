"""Small fits by several processes, for tests of them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = "synthetic:users=151,items=80,ratings=4000,seed=1"
SMALL = [
    "--set", "network.n_factors=8", "--set", "network.hidden_dims=[16]",
    "--set", "network.latent_dim=4", "--set", "training.max_epochs=2",
    "--set", "training.batch_users=30",
]  # fmt: skip


def command(folder: Path, *more: str) -> list[str]:
    return [
        "evaluate",
        "--data",
        DATA,
        "--config",
        "proven",
        *SMALL,
        "--folder",
        str(folder),
        *more,
    ]
