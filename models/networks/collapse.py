"""From a network as it is trained to the plain one that is served.

Some techniques make a parameter a function of others while training (torch's parametrizations):
item tables out of features or raters, weights over their spectral norm. Once fitted, each such
tensor is a constant. Collapsed, the network is a HybridVAE like any other: serving, export and
validation know nothing of how its numbers came about.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from models.networks.hybrid_vae import HybridVAE


def collapsed(network: HybridVAE) -> HybridVAE:
    """The same answers with every parametrized tensor a plain parameter; a copy, in eval mode.

    A network without parametrizations is returned as it is.
    """
    if not any(parametrize.is_parametrized(module) for module in network.modules()):
        return network
    # What parametrizations hold, and raters are as many as ratings, need not be copied to be left.
    held = (m for m in network.modules() if isinstance(m, parametrize.ParametrizationList))
    shared = {id(buffer): buffer for part in held for buffer in part.buffers()}
    plain = copy.deepcopy(network, shared).eval()
    for module in list(plain.modules()):
        if parametrize.is_parametrized(module):
            _make_plain(module)
    return plain


@torch.no_grad()
def _make_plain(module: nn.Module) -> None:
    # torch's remove_parametrizations would strip the class, which the original still has.
    values = {name: getattr(module, name) for name in cast(nn.ModuleDict, module.parametrizations)}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))
