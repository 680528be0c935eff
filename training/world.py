"""The processes that fit one network together, as one of them sees them.

Each has users of its own. What is counted or averaged over users passes through here: `Alone`
hands back what it is given, `Ranks` asks the others, so nothing else need know which it is. All
processes must ask the same questions in the same order, or they wait for each other for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

S = TypeVar("S", bound=np.generic)


class World(Protocol):
    """Some processes, this one having a number among them."""

    @property
    def rank(self) -> int:
        """Which of them this is, from 0."""

    @property
    def size(self) -> int:
        """How many they are."""

    @property
    def machines(self) -> int:
        """On how many machines, as many on each."""

    def sum(self, values: NDArray[S]) -> NDArray[S]:
        """The sum of every process's `values`, of one shape and type."""

    def mean(self, value: Tensor) -> Tensor:
        """The mean of every process's `value`; no gradient passes."""

    def agreed(self, share: Tensor) -> Tensor:
        """The mean of every process's `share`, with the gradient of this one's alone."""

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""

    def take_after_first(self, network: nn.Module) -> None:
        """Make the network, on the CPU, that of the process of rank 0."""


@dataclass(frozen=True)
class Alone:
    """The only process."""

    rank: int = 0
    size: int = 1
    machines: int = 1

    def sum(self, values: NDArray[S]) -> NDArray[S]:
        """The values."""
        return values

    def mean(self, value: Tensor) -> Tensor:
        """The value."""
        return value

    def agreed(self, share: Tensor) -> Tensor:
        """The share, which is all."""
        return share

    def any(self, here: bool) -> bool:
        """Whether it is so here."""
        return here

    def take_after_first(self, network: nn.Module) -> None:
        """Nothing: this is the first."""


ALONE = Alone()


@dataclass(frozen=True)
class Ranks:
    """Several processes, once torch.distributed is initialised."""

    rank: int
    size: int
    machines: int = 1

    def sum(self, values: NDArray[S]) -> NDArray[S]:
        """By a reduction on the CPU."""
        total = values.copy()
        distributed.all_reduce(torch.from_numpy(total))  # which shares its memory
        return total

    def mean(self, value: Tensor) -> Tensor:
        """By a reduction where the value is."""
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.size

    def agreed(self, share: Tensor) -> Tensor:
        """The difference to the mean is a constant to autograd."""
        return share + (self.mean(share) - share.detach())

    def any(self, here: bool) -> bool:
        """Whether some process says so."""
        return bool(self.sum(np.array([here], np.int64))[0])

    def take_after_first(self, network: nn.Module) -> None:
        """Every parameter and buffer, one after the other."""
        for tensor in network.state_dict().values():
            distributed.broadcast(tensor, 0)
