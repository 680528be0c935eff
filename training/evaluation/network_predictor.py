"""A fitted network as the evaluation sees it: histories in, ratings and scores out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.histories import Histories
from models.networks.graphs import FoldInNetwork, Rater, logits
from training.evaluation.predictor import GAUSSIAN_80, Interval

# Of users, rows_T and items_T: what a network says of each pair, [T, ...] each.
Asking = Callable[[Any, Tensor, Tensor], tuple[Tensor, ...]]
USERS_PER_PASS = 128  # the ratings of more, in factors, would not stay in a cache


class RaterPredictor:
    """A network that rates; it answers through the methods that the exported graphs run."""

    def __init__(
        self,
        name: str,
        network: Rater,
        scale: tuple[float, float],
        interval: Interval = GAUSSIAN_80,
    ) -> None:
        """scale: lowest and highest rating. interval: how far it reaches."""
        self.name = name
        self.network = network
        self.scale = scale
        self.interval = interval

    def rate(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Predicted ratings, clipped to the scale: float32 [T]."""
        return self.rate_with_spread(histories, rows, items)[0]

    def rate_with_spread(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Predicted ratings and their spreads, float32 [T] each; rows in any order."""
        if not len(rows):
            return np.empty(0, np.float32), np.empty(0, np.float32)
        ratings, spreads = self.answer(histories, rows, items, self.network.rate)
        return ratings.clip(*self.scale), spreads

    @torch.inference_mode()
    def answer(
        self, histories: Histories, rows: NDArray[np.int64], items: NDArray[np.int64], ask: Asking
    ) -> list[NDArray[np.float32]]:
        """What `ask` says of each pair, float32 [T, ...] each; T > 0 rows in any order."""
        answers: list[NDArray[np.float32]] = []
        for start in range(0, len(histories), USERS_PER_PASS):
            end = min(start + USERS_PER_PASS, len(histories))
            wanted = np.flatnonzero((rows >= start) & (rows < end))
            if len(wanted):
                users = self._users(histories.take(np.arange(start, end)))
                told = ask(
                    users, torch.from_numpy(rows[wanted] - start), torch.from_numpy(items[wanted])
                )
                answers = answers or [np.empty((len(rows), *t.shape[1:]), np.float32) for t in told]
                for answer, part in zip(answers, told, strict=True):
                    answer[wanted] = part.numpy()
        return answers

    def score(self, histories: Histories) -> NDArray[np.float32] | None:
        """None: it only rates."""
        return None

    def _users(self, histories: Histories) -> Any:
        return self.network.users_of(
            torch.from_numpy(histories.items.astype(np.int64)),
            torch.from_numpy(histories.ratings.astype(np.float32)),
            torch.from_numpy(histories.offsets.astype(np.int64)),
        )


class NetworkPredictor(RaterPredictor):
    """A network that rates and ranks."""

    network: FoldInNetwork

    def __init__(
        self,
        name: str,
        network: FoldInNetwork,
        scale: tuple[float, float],
        interval: Interval = GAUSSIAN_80,
    ) -> None:
        super().__init__(name, network, scale, interval)

    @torch.inference_mode()
    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Preference scores, float32 [B, I]."""
        scores: NDArray[np.float32] = logits(self.network, self._users(histories)).numpy()
        return scores
