"""Tables that a served network keeps in half precision.

Only the few items that are answered pass through the rating head, so their factors cost little to
widen and half of the memory to keep. What every rating of a history reads stays in float32:
widening that took as long as a tenth of the graph.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from models.networks.hybrid_vae import HybridVAE

Network = TypeVar("Network")


def narrowed(network: Network) -> Network:
    """A copy whose HybridVAE, or all of them, keep `rating_factors` in float16.

    Predicted ratings move by about a thousandth of the product of a user and an item at most,
    scores not at all; the copy is for serving, not for training.
    """
    copied = copy.deepcopy(network)
    modules = copied.modules() if isinstance(copied, nn.Module) else ()
    for module in modules:
        if isinstance(module, HybridVAE):
            halved = module.rating_factors.detach().to(torch.float16)
            module.rating_factors = nn.Parameter(halved, requires_grad=False)
    return copied
