"""Fits that are over, kept so that a resumed run does not make them again.

A checkpoint of Lightning is of a fit that goes on; this is the network as it came out of one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch

from models.networks.hybrid_vae import HybridVAE
from training.fitting.trainer import Fitted
from training.fitting.watch import EpochRecord


def keep_finished(fitted: Fitted, path: Path) -> None:
    """Write what came out, whole or not at all."""
    content = {
        "network": fitted.network.state_dict(),
        "epochs": fitted.epochs,
        "history": [(record.epoch, dict(record.figures)) for record in fitted.history],
        "warnings": list(fitted.warnings),
        "averaged": fitted.averaged,
        "interrupted": fitted.interrupted,
    }
    half = path.with_suffix(".half")
    torch.save(content, half)
    os.replace(half, path)


def take_up(path: Path, network: HybridVAE) -> Fitted:
    """Read a fit into an untrained network of the same shape."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(content["network"])
    fitted = Fitted(
        network.eval(), content["epochs"], [], content["warnings"],
        interrupted=content.get("interrupted", False), averaged=content["averaged"],
    )  # fmt: skip
    return replace(fitted, history=[EpochRecord(*record) for record in content["history"]])
