"""Warms the service's cache: the very entries it would write, before anybody asks for them.

An entry is named by the history's version, so a rating that is given meanwhile only makes its
entry unused. A cache that is away costs nothing but its entries, which are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from models.bundle import Bundle
from service.answers import AnswerWriter
from service.histories import Stamp
from service.schemas import Selection
from service.stores.cache import AnswerCache, Key, answer_key
from service.top_items import Top

EARLIEST = 100


class Warming:
    """Writes the answers to one selection. `outcomes`: entries stored, failed and rested."""

    def __init__(
        self, cache: AnswerCache, answers: AnswerWriter, bundle: Bundle, selection: Selection
    ) -> None:
        self._cache = cache
        self._answers = answers
        self._digest = bundle.digest
        self._selection = selection
        self._earliest: list[Key] = []
        self.outcomes: Counter[str] = Counter(stored=0, failed=0, rested=0)

    async def keep(self, stamps: Sequence[Stamp], tops: Sequence[Top]) -> None:
        """Store one answer for each history."""
        entries = [
            (self._key(stamp), self._body(top)) for stamp, top in zip(stamps, tops, strict=True)
        ]
        self.outcomes.update(await self._cache.keep(entries))
        if len(self._earliest) < EARLIEST:
            self._earliest += [key for key, _ in entries]

    async def complaint(self) -> str | None:
        """What did not go well, in a sentence, once all is written."""
        lost = self.outcomes["failed"] + self.outcomes["rested"]
        if lost:
            return f"The cache did not take {lost:,} answers: Redis was away, slow or full."
        held = await self._cache.held(self._earliest)
        if held is not None and held < len(self._earliest):
            return (
                f"The cache has lost {len(self._earliest) - held} of the first "
                f"{len(self._earliest)} answers again: it is too small for all of them."
            )
        return None

    def _key(self, stamp: Stamp) -> Key:
        return answer_key(self._digest, stamp, self._selection.canonical)

    def _body(self, top: Top) -> bytes:
        return self._answers.recommendations(top.basis, self._selection.k, top.best, top.own)
