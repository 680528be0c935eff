"""Adversarial perturbation of the items' vectors: learn where the loss would be worst nearby, too.

    total = loss(tables) + weight * loss(tables + delta),   delta_i = epsilon |v_i| g_i / |g_i|

with v_i an item's vector in a table and g_i the gradient of the loss by it: to first order the step
of that length that raises the loss most (Miyato et al. 2017, "Adversarial training methods for
semi-supervised text classification", eq. 5; He et al. 2018, "Adversarial personalized ranking for
recommendation", eq. 9). The step is a share of the vector's own length, which does for Miyato's
normalised embeddings: a network cannot shrug it off by growing. Delta is held constant in the
gradient of the total. Both passes draw the same noise and drop the same activations, so that what
is added differs from the loss by the perturbation alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call

from models.networks.loss import LossParts
from training.config import Adversarial
from training.fitting.batches import Batch

if TYPE_CHECKING:
    from training.fitting.learner import Learner

PERTURBED = ("item_embedding", "preference_factors", "rating_factors")


def adversarial_loss(learner: Learner, batch: Batch, settings: Adversarial) -> LossParts:
    """The learner's loss of a batch with the perturbed one added to its total.

    `learner.network` holds the tables, float32 [I, F] each; the step is along the gradient of all
    processes together.
    """
    noise_devices = [learner.device] if learner.device.type == "cuda" else []
    with torch.random.fork_rng(noise_devices):
        clean: LossParts = learner(batch)
    tables = {f"network.{name}": getattr(learner.network, name) for name in PERTURBED}
    gradients = torch.autograd.grad(clean.total, list(tables.values()), retain_graph=True)
    worse = {
        name: perturbed(table_IF, learner.world.mean(gradient_IF), settings.epsilon)
        for (name, table_IF), gradient_IF in zip(tables.items(), gradients, strict=True)
    }
    attacked: LossParts = functional_call(learner, worse, (batch,))
    return replace(clean, total=clean.total + settings.weight * attacked.total)


def perturbed(table_IF: Tensor, gradient_IF: Tensor, epsilon: float) -> Tensor:
    """Every row moved along its gradient by `epsilon` of its length; not where that is 0."""
    with torch.no_grad():
        length_I = torch.linalg.vector_norm(table_IF, dim=1)
        slope_I = torch.linalg.vector_norm(gradient_IF, dim=1)
        step_I = torch.where(slope_I > 0, epsilon * length_I / slope_I, 0.0)
    return table_IF + gradient_IF * step_I[:, None]
