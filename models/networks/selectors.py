"""Selectors: which items score best for each user, given the users' side of ranking.

    scores = (preference_BD, 1) @ (factors_ID, bias_I).T

`ExactSelector` counts every score in float32. `TwoStageSelector` counts them roughly in int8, takes
more candidates than asked for, and scores those alone in float32: the scores it answers with are
exact, and so is their order; an item is missed only where its rough score falls below that of every
candidate (measured: training.export, and figures in ARCHITECTURE.md). On a CPU a single request is
bound by the bytes it reads, and int8 has a quarter of them.

Biases are a column of the items' table and a 1 of every user's: what is gathered is gathered once.
Shapes: B users, I items, D dimensions of ranking, A = D + 1, K items asked for, C candidates, P
items padded to M whole blocks of X, U 1.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class PreferenceTable(NamedTuple):
    """The items' side of ranking, float32."""

    factors_ID: Tensor
    bias_I: Tensor


def with_bias(table: PreferenceTable) -> Tensor:
    """The items' side as one table, [I, A]."""
    return torch.cat([table.factors_ID, table.bias_I[:, None]], dim=1).detach()


def with_one(preference_BD: Tensor) -> Tensor:
    """The users' side for it, [B, A]."""
    return functional.pad(preference_BD, (0, 1), value=1.0)


class Exclusions(NamedTuple):
    """Items that single users must not get: pairs of a row of the batch and an item, int64 [E]."""

    rows_E: Tensor
    items_E: Tensor


class Selector(Protocol):
    """Chooses the best allowed items of every user; a torch module."""

    def __call__(
        self, preference_BD: Tensor, allowed_I: Tensor, excluded: Exclusions, k: int
    ) -> tuple[Tensor, Tensor]:
        """Scores, float32 [B, K], descending, -inf where nothing is left; items, int64 [B, K]."""


class ExactSelector(nn.Module):
    """Every score in float32."""

    def __init__(self, table: PreferenceTable) -> None:
        super().__init__()
        self.items_IA: Tensor
        self.register_buffer("items_IA", with_bias(table))

    def forward(
        self, preference_BD: Tensor, allowed_I: Tensor, excluded: Exclusions, k: int
    ) -> tuple[Tensor, Tensor]:
        """As `Selector`. What is not allowed has -inf added: a mask costs no pass."""
        mask_I = torch.where(allowed_I, 0.0, -torch.inf)
        scores_BI = functional.linear(with_one(preference_BD), self.items_IA, mask_I)
        scores_BK, items_BK = torch.topk(_without(scores_BI, excluded), k, dim=1)
        return scores_BK, items_BK


LARGEST_CODE = 63
"""Of an item's factor. Two products with a byte then fit into 16 bits, so processors without VNNI,
whose instruction adds two products in 16 bits and saturates, count the same sums."""
SPARE, PER_PLACE = 10, 5
LARGEST_BLOCK = 64


def candidates_for(k: int) -> int:
    """How many candidates the first stage takes for K places."""
    return PER_PLACE * k + SPARE


class TwoStageSelector(nn.Module):
    """Candidates by int8, exact scores of the candidates.

    The first stage looks for an order, not for values, so what all items share is taken off every
    column; biases are a column of their own. Whitening the items and turning them at random leaves
    the scores as they are and every column as wide as any other, on both sides, so that few numbers
    use up the range of a code: of fitted tables turning alone (Ashkboos et al. 2024, "QuaRot:
    outlier-free 4-bit inference in rotated LLMs") made it worse, and without either the 100 best of
    some users lay among the first 615 candidates, not 347. Each item has a step of its own, and so
    has each user: an answer does not depend on whom it is computed with. Only ONNX Runtime has the
    kernel; in eager torch the answers mean nothing.
    """

    def __init__(self, table: PreferenceTable, largest_k: int) -> None:
        """largest_k: the largest K that will be asked for; raises ValueError with too few items."""
        super().__init__()
        items = len(table.bias_I)
        needed = candidates_for(largest_k)
        if items < needed:
            raise ValueError(f"{items} items are too few to choose {needed} candidates from.")
        self.block = min(LARGEST_BLOCK, items // needed)
        self.padded = -(-items // self.block) * self.block
        self.items_IA: Tensor
        self.turned_AA: Tensor
        self.codes_AP: Tensor
        self.step_P: Tensor
        self.register_buffer("items_IA", with_bias(table))
        columns_IA = self.items_IA.double()
        columns_IA = columns_IA - columns_IA.mean(dim=0)
        whitened_AA, coloured_AA = _whitening(columns_IA)
        codes_PA, step_P = _quantised(columns_IA @ whitened_AA, self.padded)
        self.register_buffer("turned_AA", coloured_AA.float())
        self.register_buffer("codes_AP", codes_PA.T.contiguous())
        self.register_buffer("step_P", step_P)

    def forward(
        self, preference_BD: Tensor, allowed_I: Tensor, excluded: Exclusions, k: int
    ) -> tuple[Tensor, Tensor]:
        """As `Selector`."""
        users_BA = with_one(preference_BD)
        rough_BP = _without(self._rough_scores(users_BA, allowed_I), excluded)
        rough_BC, items_BC = self._candidates(rough_BP, candidates_for(k))
        closed_BC = rough_BC == -torch.inf  # among them are the items that only fill a block
        items_BC = items_BC.clamp(max=len(self.items_IA) - 1)
        items_BCA = functional.embedding(items_BC, self.items_IA)
        scores_BC = torch.bmm(items_BCA, users_BA[:, :, None]).squeeze(2)
        scores_BC = scores_BC.masked_fill(closed_BC, -torch.inf)
        scores_BK, places_BK = torch.topk(scores_BC, k, dim=1)
        return scores_BK, items_BC.gather(1, places_BK)

    def _rough_scores(self, users_BA: Tensor, allowed_I: Tensor) -> Tensor:
        """float32 [B, P], in each user's own unit; -inf for what is not allowed."""
        turned_BA = users_BA @ self.turned_AA
        largest_BU = turned_BA.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
        middle = torch.tensor(128, dtype=torch.uint8)
        codes_BA = torch.onnx.ops.symbolic(
            "QuantizeLinear",
            (turned_BA / largest_BU, torch.tensor(1 / 127), middle),
            dtype=torch.uint8,
            shape=turned_BA.shape,
        )
        allowed_P = functional.pad(allowed_I, (0, self.padded - len(self.items_IA)), value=False)
        mask_P = torch.where(allowed_P, 0.0, -torch.inf)
        return torch.onnx.ops.symbolic(
            "com.microsoft::MatMulIntegerToFloat",
            (codes_BA, self.codes_AP, torch.tensor(1.0), self.step_P, middle, None, mask_P),
            dtype=torch.float32,
            shape=(turned_BA.shape[0], self.padded),
            version=1,
        )

    def _candidates(self, rough_BP: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The best `count` of each row, in any order: they lie in the blocks of the best maxima."""
        users, blocks = rough_BP.shape[0], self.padded // self.block
        maxima_BM = rough_BP.view(-1, blocks, self.block).amax(dim=2)
        _, blocks_BC = torch.topk(maxima_BM, count, dim=1, sorted=False)
        rows_BC = torch.arange(users)[:, None] * blocks + blocks_BC
        within_BX = functional.embedding(rows_BC, rough_BP.view(-1, self.block)).flatten(1)
        rough_BC, places_BC = torch.topk(within_BX, count, dim=1, sorted=False)
        nth_BC = torch.div(places_BC, self.block, rounding_mode="trunc")
        block_BC = blocks_BC.gather(1, nth_BC)
        return rough_BC, (block_BC - nth_BC) * self.block + places_BC


def _without(scores_BI: Tensor, excluded: Exclusions) -> Tensor:
    """Scores with -inf where users must not get an item.

    Flat, since onnxruntime then writes in place; an index_put becomes a ScatterND, which copies.
    """
    places_E = excluded.rows_E * scores_BI.shape[1] + excluded.items_E
    nothing_E = torch.full_like(places_E, -torch.inf, dtype=scores_BI.dtype)
    return scores_BI.view(-1).scatter(0, places_E, nothing_E).view_as(scores_BI)


def _whitening(columns_IA: Tensor) -> tuple[Tensor, Tensor]:
    """W and the transposed inverse of W, [A, A]: columns_IA @ W are white, turned at random.

    W is the inverse root of the covariance times an orthogonal matrix. Directions in which items
    hardly differ are held to a billionth of the widest, so both stay finite.
    """
    variance_A, directions_AA = torch.linalg.eigh(columns_IA.T @ columns_IA / len(columns_IA))
    variance_A = variance_A.clamp(min=max(float(variance_A[-1]) * 1e-9, 1e-24))
    random = torch.Generator().manual_seed(0)
    drawn_AA = torch.randn(directions_AA.shape, generator=random, dtype=columns_IA.dtype)
    turn_AA = torch.linalg.qr(drawn_AA).Q
    root_A = variance_A.sqrt()
    return (directions_AA / root_A) @ turn_AA, (directions_AA * root_A) @ turn_AA


def _quantised(columns_IA: Tensor, padded: int) -> tuple[Tensor, Tensor]:
    """int8 [P, A] codes and float32 [P] steps of the items; those that fill a block are 0."""
    step_I = columns_IA.abs().amax(dim=1) / LARGEST_CODE
    codes_IA = torch.round(columns_IA / step_I.clamp(min=1e-12)[:, None])
    codes_PA = torch.zeros(padded, columns_IA.shape[1], dtype=torch.int8)
    codes_PA[: len(codes_IA)] = codes_IA.to(torch.int8)
    step_P = torch.zeros(padded)
    step_P[: len(step_I)] = step_I.float()
    return codes_PA, step_P
