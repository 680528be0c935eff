"""Attention of a target item over the history: what the neighbours among one's ratings say.

    term(u, t) = <readout_t, sum_n a(t, n) v_n> / sqrt(1 + sum_n a(t, n)),
    a(t, n) = phi(query_t) . phi(key_n) / D,   v_n = left_n * scaled_n + offset_n

The integrated neighbourhood model (Koren 2008, "Factorization meets the neighborhood", eq. 15):
each rating of the history speaks for the target by what the biases leave of it, and by having been
given at all, shrunk by the root of how much was said. Its weights are attention between two items
(He et al. 2018, "NAIS", whose smoothing exponent is 1/2 as here; Zhou et al. 2018, "DIN").

With phi(x) = elu(x) + 1 the attention is linear (Katharopoulos et al. 2020, "Transformers are
RNNs", eq. 6-7): sums over the history are taken once, and a target reads them in about D * V
multiplications however long the history is. Keys and values are linear maps of the encoder's item
embedding, queries and readouts of the rating factors; the readout starts at 0, hence the term too.
Shapes: B users, N history ratings, T pairs, I items, F factors, D width of keys = V of values,
W = V + 1 a value and its weight, S = D * W numbers kept of a history.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class NoAttention(nn.Module):
    """Keeps nothing of a history and adds nothing to a rating."""

    def keep(
        self, embedding_IF: Tensor, items_N: Tensor, left_N: Tensor, rows_N: Tensor, users: int
    ) -> Tensor:
        """[B, 0]."""
        return left_N.new_zeros(users, 0)

    def read(self, kept_BS: Tensor, rows_T: Tensor, factors_TF: Tensor) -> Tensor:
        """0."""
        return factors_TF.new_zeros(())

    def read_all(self, kept_BS: Tensor, factors_IF: Tensor) -> Tensor:
        """0."""
        return factors_IF.new_zeros(())


class HistoryAttention(nn.Module):
    """Linear attention between the rating factors of targets and the embeddings of a history."""

    def __init__(self, factors: int, width: int) -> None:
        """factors: F of both item tables. width: D = V."""
        super().__init__()
        self.width = width
        self.to_key = nn.Linear(factors, width)
        self.to_value = nn.Linear(factors, 2 * width)
        self.to_query = nn.Linear(factors, width)
        self.to_readout = nn.Linear(factors, width)
        nn.init.zeros_(self.to_readout.weight)
        nn.init.zeros_(self.to_readout.bias)

    def keep(
        self, embedding_IF: Tensor, items_N: Tensor, left_N: Tensor, rows_N: Tensor, users: int
    ) -> Tensor:
        """Sum phi(key) x (value, 1) over each history, flat: [B, S]; 0 for an empty one.

        left_N: what the biases leave of each rating, in rating units.
        """
        embedded_NF = embedding_IF.index_select(0, items_N)
        key_ND = feature(self.to_key(embedded_NF)) / self.width
        scaled_NV, offset_NV = self.to_value(embedded_NF).chunk(2, dim=1)
        value_NV = left_N[:, None] * scaled_NV + offset_NV
        said_NW = functional.pad(value_NV, (0, 1), value=1.0)
        outer_NS = (key_ND[:, :, None] * said_NW[:, None, :]).flatten(1)
        kept_BS = outer_NS.new_zeros(users, outer_NS.shape[1])
        return kept_BS.index_put((rows_N,), outer_NS, accumulate=True)

    def read(self, kept_BS: Tensor, rows_T: Tensor, factors_TF: Tensor) -> Tensor:
        """What the histories say of the targets, [T], in rating units; 0 if they are empty.

        factors_TF: the rating factors of item t for user rows_T[t].
        """
        query_TD = feature(self.to_query(factors_TF))
        kept_TDW = kept_BS.unflatten(1, (self.width, self.width + 1))[rows_T]
        said_TW = (query_TD[:, :, None] * kept_TDW).sum(1)
        weight_T = said_TW[:, -1]
        spoken_T = (self.to_readout(factors_TF) * said_TW[:, :-1]).sum(1)
        shrunk_T: Tensor = spoken_T / torch.sqrt(1 + weight_T)
        return shrunk_T

    def read_all(self, kept_BS: Tensor, factors_IF: Tensor) -> Tensor:
        """What every history says of every item, [B, I]."""
        query_ID = feature(self.to_query(factors_IF))
        kept_BDW = kept_BS.unflatten(1, (self.width, self.width + 1))
        said_BIW = torch.einsum("id,bdw->biw", query_ID, kept_BDW)
        spoken_BI = torch.einsum("iv,biv->bi", self.to_readout(factors_IF), said_BIW[..., :-1])
        shrunk_BI: Tensor = spoken_BI / torch.sqrt(1 + said_BIW[..., -1])
        return shrunk_BI


def feature(x: Tensor) -> Tensor:
    """The positive feature map elu(x) + 1 (Katharopoulos et al. 2020, eq. 7)."""
    return functional.elu(x) + 1


def attention_of(factors: int, width: int) -> NoAttention | HistoryAttention:
    """The attention of that width; none for width 0."""
    return HistoryAttention(factors, width) if width else NoAttention()
