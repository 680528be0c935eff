"""An ensemble: members of any kind as one network, their answers weighted, one graph to serve.

Rating: c + sum_m w_m (r_m - c), c the mean rating the weights were fitted around. Preference: the
weighted sum of the members' scores. A member with weight 0 in a head is not computed for it.

Spread: the mean of the members', weighted like their ratings. Members' errors on one rating are
nearly the same error, the rating's own noise; the standard deviation of a weighted mean of fully
correlated errors is the weighted mean of theirs, and of others it is at most that. The interval's
multiplier is fitted afterwards and makes up for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.networks.graphs import FoldInNetwork, Rater
from models.networks.selectors import PreferenceTable


@dataclass(frozen=True)
class Shares:
    """Weights of M members in both heads, none negative, and the rating they deviate from."""

    centre: float
    rating: tuple[float, ...]
    preference: tuple[float, ...]

    def __post_init__(self) -> None:
        for head in (self.rating, self.preference):
            if min(head, default=0.0) < 0 or not max(head, default=0.0) > 0:
                raise ValueError(f"Weights must not be negative, and one above 0: {head}.")
        if len(self.rating) != len(self.preference):
            raise ValueError("Every member needs a weight in either head.")


class Ensemble(nn.Module):
    """A `models.networks.graphs.FoldInNetwork` made of others."""

    def __init__(self, members: Sequence[Rater], shares: Shares) -> None:
        """Members with a preference weight must rank."""
        super().__init__()
        self.members = nn.ModuleList([cast(nn.Module, member) for member in members])
        self.shares = shares
        self._members = tuple(members)

    def users_of(self, items_N: Tensor, ratings_N: Tensor, offsets: Tensor) -> tuple[Any, ...]:
        """What each member says of the users; None of a member that counts in neither head."""
        counts = map(max, self.shares.rating, self.shares.preference)
        return tuple(
            member.users_of(items_N, ratings_N, offsets) if count > 0 else None
            for member, count in zip(self._members, counts, strict=True)
        )

    def preference(self, users: tuple[Any, ...]) -> Tensor:
        """Those of the members side by side, each times its weight, [B, D]."""
        return torch.cat(
            [weight * member.preference(users[m]) for m, member, weight in self._rankers()], dim=1
        )

    def preference_table(self) -> PreferenceTable:
        """Those of the members side by side; biases by weight."""
        tables = [(weight, member.preference_table()) for _, member, weight in self._rankers()]
        return PreferenceTable(
            torch.cat([table.factors_ID for _, table in tables], dim=1),
            torch.stack([weight * table.bias_I for weight, table in tables]).sum(0),
        )

    def item_vectors(self) -> Tensor:
        """Those of the members side by side, [I, D]: cosines are the mean of theirs, weighted."""
        total = sum(self.shares.preference)
        vectors = [
            (weight / total) ** 0.5 * member.item_vectors() for _, member, weight in self._rankers()
        ]
        return torch.cat(vectors, dim=1)

    def _rankers(self) -> Iterator[tuple[int, FoldInNetwork, float]]:
        """The members that rank: number, member and weight."""
        weighted = zip(self._members, self.shares.preference, strict=True)
        for number, (member, weight) in enumerate(weighted):
            if weight > 0 and isinstance(member, FoldInNetwork):
                yield number, member, weight

    def rate(
        self, users: tuple[Any, ...], rows_T: Tensor, items_T: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predicted ratings, not clipped, and their spreads, each [T]."""
        centre, total = self.shares.centre, sum(self.shares.rating)
        ratings_T, spreads_T = [], []
        members = zip(self._members, self.shares.rating, users, strict=True)
        for member, weight, of_member in members:
            if weight > 0:
                rating_T, spread_T = member.rate(of_member, rows_T, items_T)
                ratings_T.append(weight * (rating_T - centre))
                spreads_T.append(weight / total * spread_T)
        return centre + torch.stack(ratings_T).sum(0), torch.stack(spreads_T).sum(0)
