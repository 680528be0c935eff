"""Titles searched by the words in them, over a whole catalogue at once.

Every word of a query has to occur in a title, at the beginning of a word or within one. All folded
titles lie in one run of bytes in which numpy finds a word, so a search costs no Python loop over
the catalogue; each word is looked for only where those before it were found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.folded_titles import END, FoldedTitles, fold
from models.histories import flat_entries

WHOLE, PREFIX, WITHIN = 0, 1, 2


class TitleSearch:
    """Searches the titles of `items` items."""

    def __init__(self, folded: FoldedTitles, items: int) -> None:
        self._folded = folded
        self._items = items

    def find(self, query: str) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """Items whose titles hold every word, ascending, and how well they fit, [n] each.

        How well: WHOLE if the query is the title, PREFIX if the title begins with it, else WITHIN.
        A query without a letter, a digit or a symbol finds nothing.
        """
        words = fold(query).split()
        if not words:
            return np.zeros(0, np.int64), np.zeros(0, np.int8)
        items = np.arange(self._items)
        for word in sorted({word.encode() for word in words}, key=self._frequency):
            items = self._holding(word, items)
        return items, self._fits(" ".join(words).encode(), items)

    def _holding(self, word: bytes, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `items` that have the word in one of their forms, ascending."""
        if len(items) == self._items:
            text, offsets = self._folded.text, self._folded.offsets
            forms = np.arange(len(self._folded.owners))
        else:
            forms = self._forms_of(items)
            entries, offsets = flat_entries(self._folded.offsets, forms)
            text = self._folded.text[entries]
        found = np.searchsorted(offsets, self._places(text, word), side="right") - 1
        held = np.zeros(self._items, np.bool_)
        held[self._folded.owners[forms[found]]] = True
        return np.flatnonzero(held)

    def _places(self, text: NDArray[np.uint8], word: bytes) -> NDArray[np.int64]:
        """Where the word begins in the text. Its rarest byte is looked for first."""
        ends = len(text) - len(word) + 1
        if ends <= 0:
            return np.zeros(0, np.int64)
        rarest = min(range(len(word)), key=lambda place: int(self._folded.counts[word[place]]))
        places = np.flatnonzero(text[rarest : rarest + ends] == word[rarest])
        for place, byte in enumerate(word):
            if place != rarest:
                places = places[text[places + place] == byte]
        return places

    def _frequency(self, word: bytes) -> int:
        """How often a word can occur at most: as often as its rarest byte."""
        return min(int(self._folded.counts[byte]) for byte in word)

    def _fits(self, phrase: bytes, items: NDArray[np.int64]) -> NDArray[np.int8]:
        forms = self._forms_of(items)
        starts = self._folded.offsets[forms]
        lengths = self._folded.offsets[forms + 1] - starts - len(END)
        begins = np.flatnonzero(lengths >= len(phrase))
        for place, byte in enumerate(phrase):
            begins = begins[self._folded.text[starts[begins] + place] == byte]
        fits = np.full(self._items, WITHIN, np.int8)
        fits[self._folded.owners[forms[begins]]] = PREFIX
        fits[self._folded.owners[forms[begins[lengths[begins] == len(phrase)]]]] = WHOLE
        return fits[items]

    def _forms_of(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        chosen = np.zeros(self._items, np.bool_)
        chosen[items] = True
        return np.flatnonzero(chosen[self._folded.owners])
