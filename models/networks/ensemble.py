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
        self._raters = tuple(zip(members, shares.rating, strict=True))
        self._rankers = tuple(zip(members, shares.preference, strict=True))

    def users_of(self, items_N: Tensor, ratings_N: Tensor, offsets: Tensor) -> tuple[Any, ...]:
        """What each member says of the users; None of a member that counts in neither head."""
        counts = map(max, self.shares.rating, self.shares.preference)
        return tuple(
            member.users_of(items_N, ratings_N, offsets) if count > 0 else None
            for (member, _), count in zip(self._raters, counts, strict=True)
        )

    def logits(self, users: tuple[Any, ...]) -> Tensor:
        """Preference scores [B, I]."""
        scores = [weight * member.logits(of_user) for member, weight, of_user in self._rank(users)]
        return torch.stack(scores).sum(0)

    def score(self, users: tuple[Any, ...], rows_T: Tensor, items_T: Tensor) -> Tensor:
        """Preference scores of named pairs, [T]."""
        scores = [
            weight * member.score(of_user, rows_T, items_T)
            for member, weight, of_user in self._rank(users)
        ]
        return torch.stack(scores).sum(0)

    def _rank(self, users: tuple[Any, ...]) -> Iterator[tuple[FoldInNetwork, float, Any]]:
        """The members that rank: each with its weight and what it says of the users."""
        for (member, weight), of_member in zip(self._rankers, users, strict=True):
            if weight > 0 and isinstance(member, FoldInNetwork):
                yield member, weight, of_member

    def item_vectors(self) -> Tensor:
        """Those of the members side by side, [I, D]: cosines are the mean of theirs, weighted."""
        total = sum(self.shares.preference)
        vectors = [
            (weight / total) ** 0.5 * member.item_vectors()
            for member, weight in self._rankers
            if weight > 0 and isinstance(member, FoldInNetwork)
        ]
        return torch.cat(vectors, dim=1)

    def rate(
        self, users: tuple[Any, ...], rows_T: Tensor, items_T: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predicted ratings, not clipped, and their spreads, each [T]."""
        centre, total = self.shares.centre, sum(self.shares.rating)
        ratings_T, spreads_T = [], []
        for (member, weight), of_member in zip(self._raters, users, strict=True):
            if weight > 0:
                rating_T, spread_T = member.rate(of_member, rows_T, items_T)
                ratings_T.append(weight * (rating_T - centre))
                spreads_T.append(weight / total * spread_T)
        return centre + torch.stack(ratings_T).sum(0), torch.stack(spreads_T).sum(0)
