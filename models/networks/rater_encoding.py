"""Items encoded from their raters: what an item is, told by who rated it and how.

Free item factors memorise the ratings they are fitted to. Here an item's rating factors are
encoded from its raters, and so is a correction of its bias, as in an item-based autoencoder
(Sedhain et al. 2015, "AutoRec", I-AutoRec) and in the item side of a bilateral one (Truong, Salah
and Lauw 2021, "Bilateral variational autoencoder for collaborative filtering"). Factors that stay
free beside the encoding are an option: they go on memorising. Every training user has a vector,
known to training alone. An item's raters are pooled twice, over all of them (who) and weighted by
how far their rating was above their own mean (how), and a perceptron maps both pools.

The scored pair is left out: while a batch of users is fitted, none of them is in any pool, or an
item's encoding would tell the rating that it is to predict. A step draws a fixed number of raters
an item, with replacement (Hamilton, Ying and Leskovec 2017, "Inductive representation learning on
large graphs", section 3.1). That bounds its cost and hides what a free factor could otherwise tell
from the pool: its own total, less all others, is the rating left out. Outside of training steps
all raters count, and `collapse` keeps the result: served, the tables are constants.
Shapes: U training users, I items, N ratings, D width of a user's vector, M drawn raters, P the
two pools.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from models.histories import Histories
from models.networks.architecture import RaterEncoding
from models.networks.hybrid_vae import HybridVAE
from models.networks.perceptron import perceptron

RIDGE = 5.0  # raters of nothing that a pool is shrunk by, to begin with
ENCODED_TABLES = ("rating_factors", "rating_bias")


class RaterEncoder(nn.Module):
    """Encodes all I items from their raters, [I, 2 D]."""

    def __init__(
        self, raters: Histories, users: int, settings: RaterEncoding, dropout: float
    ) -> None:
        """raters: one "history" per item, of user numbers in 0..users-1 and their deviations."""
        super().__init__()
        self.sample = settings.sample
        self.vectors_UD = nn.Parameter(torch.randn(users, settings.width) * 0.1)
        self.log_ridge = nn.Parameter(torch.tensor(math.log(RIDGE)))
        self.perceptron = perceptron((2 * settings.width, 2 * settings.width), dropout)
        self.raters_N: Tensor
        self.deviations_N: Tensor
        self.offsets: Tensor
        self.register_buffer("raters_N", torch.from_numpy(raters.items).int(), persistent=False)
        self.register_buffer("deviations_N", torch.from_numpy(raters.ratings), persistent=False)
        self.register_buffer("offsets", torch.from_numpy(raters.offsets), persistent=False)
        self._drawn: Tensor | None = None

    def forward(self) -> Tensor:
        """The encoding of this step within `leaving_out`, that from all raters elsewhere."""
        return self.perceptron(self.pool_all()) if self._drawn is None else self._drawn

    def pool_all(self) -> Tensor:
        """Both pools of all raters, side by side: [I, 2 D]."""
        weights = (torch.ones_like(self.deviations_N), self.deviations_N)
        offsets = self.offsets.int()
        sums_ID = [
            functional.embedding_bag(
                self.raters_N, self.vectors_UD, offsets, mode="sum",
                per_sample_weights=weight_N, include_last_offset=True,
            )
            for weight_N in weights
        ]  # fmt: skip
        count_I = self.offsets.diff()
        return torch.cat(sums_ID, dim=1) / (count_I + self.log_ridge.exp())[:, None]

    def pool_drawn(self, left_out_B: Tensor) -> Tensor:
        """The same estimated from drawn raters, without the users left_out_B: [I, 2 D].

        With n raters of whom M are drawn, each draw stands for n / M of them.
        """
        count_I = self.offsets.diff()
        drawn_IM = self._draw(count_I)
        raters_IM = self.raters_N[drawn_IM]
        out_U = torch.zeros(len(self.vectors_UD), dtype=torch.bool, device=left_out_B.device)
        out_U[left_out_B] = True
        kept_IM = (~out_U[raters_IM] & (count_I > 0)[:, None]).to(self.deviations_N.dtype)
        weights_IPM = torch.stack([kept_IM, kept_IM * self.deviations_N[drawn_IM]], dim=1)
        sums_IPD = weights_IPM @ functional.embedding(raters_IM, self.vectors_UD)
        stands_for_I = count_I / self.sample
        left_I = stands_for_I * kept_IM.sum(1) + self.log_ridge.exp()
        return sums_IPD.flatten(1) * (stands_for_I / left_I)[:, None]

    def _draw(self, count_I: Tensor) -> Tensor:
        """Which ratings are drawn, int64 [I, M]; any for an item without raters."""
        share_IM = torch.rand(len(count_I), self.sample, device=count_I.device)
        place_IM = (share_IM * count_I[:, None]).long()
        return (self.offsets[:-1, None] + place_IM).clamp(max=len(self.raters_N) - 1)

    @contextmanager
    def leaving_out(self, users_B: Tensor) -> Iterator[None]:
        """Encode once from drawn raters without `users_B`, and answer with that meanwhile."""
        self._drawn = self.perceptron(self.pool_drawn(users_B))
        try:
            yield
        finally:
            self._drawn = None


class EncodedOffset(nn.Module):
    """Adds a linear map of the items' encoding to a table [I, ...]; zero at first."""

    def __init__(self, encoder: RaterEncoder, width: int, table: Tensor, *, free: bool) -> None:
        """free: whether the table keeps a free part to add to."""
        super().__init__()
        self.encoder = encoder
        self.free = free
        self.weight = nn.Parameter(torch.zeros(2 * width, *table.shape[1:]))

    def forward(self, free: Tensor) -> Tensor:
        """The table, from its free part of the same shape."""
        encoded: Tensor = self.encoder()
        return free * self.free + encoded @ self.weight


def encode_from_raters(
    network: HybridVAE, raters: Histories, users: int, settings: RaterEncoding
) -> None:
    """Let the rating side of `network`'s items depend on their raters while training.

    raters: for each item the numbers of the users who rated it, and by how much each rating is
    above that user's mean, in the layout of histories. users: U.
    """
    encoder = RaterEncoder(raters, users, settings, network.architecture.dropout)
    for name in ENCODED_TABLES:
        free = settings.free_factors or name != "rating_factors"
        offset = EncodedOffset(encoder, settings.width, getattr(network, name), free=free)
        parametrize.register_parametrization(network, name, offset)


@contextmanager
def leaving_out(network: nn.Module, users_B: Tensor) -> Iterator[None]:
    """One training step on the users with these numbers: no item is encoded from any of them.

    Does nothing for a network whose items are not encoded from raters.
    """
    encoder = next((m for m in network.modules() if isinstance(m, RaterEncoder)), None)
    if encoder is None:
        yield
        return
    with encoder.leaving_out(users_B):
        yield
