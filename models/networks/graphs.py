"""The two graphs of a bundle as torch modules: what the service runs, written once for export.

Both wrap one fitted network and share its weights. Histories arrive flat with offsets, so one
history of 10,000 ratings costs its batch 10,000 entries and no padding.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from models.manifest import RatingScale, TensorSpec
from models.networks.flat import rows_of

HISTORY_INPUTS = (
    TensorSpec(name="history_items", dtype="int64", shape=("ratings",)),
    TensorSpec(name="history_ratings", dtype="float32", shape=("ratings",)),
    TensorSpec(name="history_offsets", dtype="int64", shape=("users+1",)),
)


class Rater(Protocol):
    """A network that predicts ratings from a history alone.

    What it says of users (`Any`) is for itself to read, in `rate`.
    """

    def users_of(self, items_N: Tensor, ratings_N: Tensor, offsets: Tensor) -> Any:
        """What it makes of the histories, without sampling; offsets: int64 [B + 1]."""

    def rate(self, users: Any, rows_T: Tensor, items_T: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted ratings and spreads, each [T]."""


@runtime_checkable
class FoldInNetwork(Rater, Protocol):
    """What a network must offer to be served: it also ranks."""

    def logits(self, users: Any) -> Tensor:
        """Preference scores [B, I]."""

    def score(self, users: Any, rows_T: Tensor, items_T: Tensor) -> Tensor:
        """The entries (rows_T, items_T) of `logits`, [T], at the cost of those alone."""

    def item_vectors(self) -> Tensor:
        """What ranking knows of each item, [I, D]; of length 1, or 0 where it knows nothing.

        Items whose vectors point the same way are ranked alike for everybody.
        """


class RecommendGraph(nn.Module):
    """Histories in, the best K allowed items out, each with score, rating and spread."""

    def __init__(self, network: FoldInNetwork, scale: RatingScale, top_k: int) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.top_k = top_k

    @staticmethod
    def inputs(items: int) -> tuple[TensorSpec, ...]:
        """Names, types and shapes, in the order of `forward`."""
        return (
            *HISTORY_INPUTS,
            TensorSpec(name="excluded_items", dtype="int64", shape=("excluded",)),
            TensorSpec(name="excluded_offsets", dtype="int64", shape=("users+1",)),
            TensorSpec(name="filters", dtype="bool", shape=("filters", items)),
            TensorSpec(name="filter_rows", dtype="int64", shape=("users",)),
        )

    @staticmethod
    def outputs(top_k: int) -> tuple[TensorSpec, ...]:
        """Names, types and shapes of what `forward` returns."""
        return (
            TensorSpec(name="items", dtype="int64", shape=("users", top_k)),
            TensorSpec(name="scores", dtype="float32", shape=("users", top_k)),
            TensorSpec(name="ratings", dtype="float32", shape=("users", top_k)),
            TensorSpec(name="spreads", dtype="float32", shape=("users", top_k)),
        )

    def forward(
        self,
        history_items: Tensor,
        history_ratings: Tensor,
        history_offsets: Tensor,
        excluded_items: Tensor,
        excluded_offsets: Tensor,
        filters: Tensor,
        filter_rows: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rank what user b's filter allows and user b's exclusions leave; scores -inf beyond it.

        Only the K winners pass through the rating head.
        """
        users = self.network.users_of(history_items, history_ratings, history_offsets)
        excluded_rows = rows_of(excluded_offsets, excluded_items)
        nothing = torch.zeros_like(excluded_items, dtype=torch.bool)
        allowed_BI = filters[filter_rows].index_put((excluded_rows, excluded_items), nothing)
        scores_BI = self.network.logits(users).masked_fill(~allowed_BI, -torch.inf)
        scores_BK, items_BK = torch.topk(scores_BI, self.top_k, dim=1)
        rows_BK = torch.arange(items_BK.shape[0])[:, None].expand_as(items_BK)
        ratings_T, spreads_T = self.network.rate(users, rows_BK.reshape(-1), items_BK.reshape(-1))
        ratings_T = ratings_T.clamp(self.scale.minimum, self.scale.maximum)
        return items_BK, scores_BK, ratings_T.view_as(items_BK), spreads_T.view_as(items_BK)


class RateGraph(nn.Module):
    """Histories and named items in; predicted ratings, spreads and preference scores out.

    A network that only rates, as a member of an ensemble may, has no scores to give.
    """

    def __init__(self, network: Rater, scale: RatingScale) -> None:
        super().__init__()
        self.network = network
        self.scale = scale

    @staticmethod
    def inputs() -> tuple[TensorSpec, ...]:
        """Names, types and shapes, in the order of `forward`."""
        return (
            *HISTORY_INPUTS,
            TensorSpec(name="target_items", dtype="int64", shape=("targets",)),
            TensorSpec(name="target_rows", dtype="int64", shape=("targets",)),
        )

    def outputs(self) -> tuple[TensorSpec, ...]:
        """Names, types and shapes of what `forward` returns."""
        scores = ("scores",) if isinstance(self.network, FoldInNetwork) else ()
        names = ("ratings", "spreads", *scores)
        return tuple(TensorSpec(name=name, dtype="float32", shape=("targets",)) for name in names)

    def forward(
        self,
        history_items: Tensor,
        history_ratings: Tensor,
        history_offsets: Tensor,
        target_items: Tensor,
        target_rows: Tensor,
    ) -> tuple[Tensor, ...]:
        """Rate and score target_items[t] for the user whose history is row target_rows[t]."""
        users = self.network.users_of(history_items, history_ratings, history_offsets)
        ratings_T, spreads_T = self.network.rate(users, target_rows, target_items)
        rated = (ratings_T.clamp(self.scale.minimum, self.scale.maximum), spreads_T)
        if not isinstance(self.network, FoldInNetwork):
            return rated
        return *rated, self.network.score(users, target_rows, target_items)
