"""The two graphs of a bundle as torch modules: what the service runs, written once for export.

Both wrap one fitted network and share its weights. Histories arrive flat with offsets, so one
history of 10,000 ratings costs its batch 10,000 entries and no padding.
"""

from __future__ import annotations

from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.manifest import RatingScale, TensorSpec
from models.networks.flat import rows_of
from models.networks.selectors import (
    Exclusions,
    PreferenceTable,
    Selector,
    with_bias,
    with_one,
)

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
    """What a network must offer to be served: it also ranks, by a product of users and items.

    Preference scores are preference(users) @ factors_ID.T + bias_I.
    """

    def preference(self, users: Any) -> Tensor:
        """The users' side of the preference scores, [B, D]."""

    def preference_table(self) -> PreferenceTable:
        """The items' side of the preference scores."""

    def item_vectors(self) -> Tensor:
        """What ranking knows of each item, [I, D]; of length 1, or 0 where it knows nothing.

        Items whose vectors point the same way are ranked alike for everybody.
        """


def logits(network: FoldInNetwork, users: Any) -> Tensor:
    """Preference scores of every item, [B, I]."""
    return functional.linear(network.preference(users), *network.preference_table())


class RecommendGraph(nn.Module):
    """Histories in, the best K allowed items out, each with score, rating and spread."""

    def __init__(self, network: FoldInNetwork, scale: RatingScale, selector: Selector) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.selector = selector

    @staticmethod
    def inputs(items: int) -> tuple[TensorSpec, ...]:
        """Names, types and shapes, in the order of `forward`."""
        return (
            *HISTORY_INPUTS,
            TensorSpec(name="excluded_items", dtype="int64", shape=("excluded",)),
            TensorSpec(name="excluded_offsets", dtype="int64", shape=("users+1",)),
            TensorSpec(name="allowed", dtype="bool", shape=(items,)),
            TensorSpec(name="k", dtype="int64", shape=()),
        )

    @staticmethod
    def outputs() -> tuple[TensorSpec, ...]:
        """Names, types and shapes of what `forward` returns."""
        return (
            TensorSpec(name="items", dtype="int64", shape=("users", "k")),
            TensorSpec(name="scores", dtype="float32", shape=("users", "k")),
            TensorSpec(name="ratings", dtype="float32", shape=("users", "k")),
            TensorSpec(name="spreads", dtype="float32", shape=("users", "k")),
        )

    def forward(
        self,
        history_items: Tensor,
        history_ratings: Tensor,
        history_offsets: Tensor,
        excluded_items: Tensor,
        excluded_offsets: Tensor,
        allowed: Tensor,
        k: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rank what is allowed and user b's exclusions leave; scores -inf beyond it.

        Only the K winners pass through the rating head.
        """
        places = cast("int", k.item())  # while it is traced, a symbol; int() would make it fixed
        torch._check(places >= 1)
        torch._check(places <= len(allowed))
        users = self.network.users_of(history_items, history_ratings, history_offsets)
        excluded_rows = rows_of(excluded_offsets, excluded_items)
        excluded = Exclusions(excluded_rows, excluded_items)
        preference_BD = self.network.preference(users)
        scores_BK, items_BK = self.selector(preference_BD, allowed, excluded, places)
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
        self.ranks = isinstance(network, FoldInNetwork)
        if isinstance(network, FoldInNetwork):
            self.items_IA: Tensor
            self.register_buffer("items_IA", with_bias(network.preference_table()))

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
        scores = ("scores",) if self.ranks else ()
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
        users_TA = with_one(self.network.preference(users)).index_select(0, target_rows)
        return *rated, (users_TA * functional.embedding(target_items, self.items_IA)).sum(dim=1)
