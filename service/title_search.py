"""Titles searched by the words in them, over a whole catalogue at once.

Titles and queries are folded alike: no case, no accents, no punctuation. Every word of a query has
to occur in a title, at the beginning of a word or within one. All folded titles lie in one run of
bytes in which numpy finds a word, so a search costs no Python loop over the catalogue; each word
is looked for only where those before it were found.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.histories import flat_entries

END = b"\n"  # folding leaves no line feed
WHOLE, PREFIX, WITHIN = 0, 1, 2
_APART = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe"})
_APOSTROPHES = re.compile(r"['`\u2019\u02bc]")
_SIGN = re.compile(r"[^\w\s]")
_BRACKETS = re.compile(r"\s*\(([^()]*)\)")
_ALIAS = re.compile(r"^a\.?k\.?a\.? ", re.IGNORECASE)
_ARTICLE_LAST = re.compile(
    r"^(.+), (the|an?|l['\u2019]|l[aeo]s?|il|gli|un[ae]?|el|d(?:er|ie|as|en|et)|e[nt]|os?)$",
    re.IGNORECASE,
)


class TitleSearch:
    """The folded titles of I items; some 40 bytes an item."""

    def __init__(self, titles: Sequence[str]) -> None:
        """Fold every title: about a second for 100,000."""
        # Nothing is kept of each title but its bytes: a list of all of them would leave holes in
        # the memory of the process that are as large again.
        text, owners, offsets = bytearray(), array("q"), array("q", [0])
        for item, title in enumerate(titles):
            for form in _forms(title):
                text += form.encode() + END
                owners.append(item)
                offsets.append(len(text))
        self._items = len(titles)
        self._owners = np.array(owners, np.int64)
        self._offsets = np.array(offsets, np.int64)
        self._text = np.frombuffer(bytes(text), np.uint8)
        self._common = np.bincount(self._text, minlength=256)

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
            text, offsets, forms = self._text, self._offsets, np.arange(len(self._owners))
        else:
            forms = self._forms_of(items)
            entries, offsets = flat_entries(self._offsets, forms)
            text = self._text[entries]
        found = np.searchsorted(offsets, self._places(text, word), side="right") - 1
        held = np.zeros(self._items, np.bool_)
        held[self._owners[forms[found]]] = True
        return np.flatnonzero(held)

    def _places(self, text: NDArray[np.uint8], word: bytes) -> NDArray[np.int64]:
        """Where the word begins in the text. Its rarest byte is looked for first."""
        ends = len(text) - len(word) + 1
        if ends <= 0:
            return np.zeros(0, np.int64)
        rarest = min(range(len(word)), key=lambda place: int(self._common[word[place]]))
        places = np.flatnonzero(text[rarest : rarest + ends] == word[rarest])
        for place, byte in enumerate(word):
            if place != rarest:
                places = places[text[places + place] == byte]
        return places

    def _frequency(self, word: bytes) -> int:
        """How often a word can occur at most: as often as its rarest byte."""
        return min(int(self._common[byte]) for byte in word)

    def _fits(self, phrase: bytes, items: NDArray[np.int64]) -> NDArray[np.int8]:
        forms = self._forms_of(items)
        starts = self._offsets[forms]
        lengths = self._offsets[forms + 1] - starts - len(END)
        begins = np.flatnonzero(lengths >= len(phrase))
        for place, byte in enumerate(phrase):
            begins = begins[self._text[starts[begins] + place] == byte]
        fits = np.full(self._items, WITHIN, np.int8)
        fits[self._owners[forms[begins]]] = PREFIX
        fits[self._owners[forms[begins[lengths[begins] == len(phrase)]]]] = WHOLE
        return fits[items]

    def _forms_of(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        chosen = np.zeros(self._items, np.bool_)
        chosen[items] = True
        return np.flatnonzero(chosen[self._owners])


def fold(text: str) -> str:
    """Words without case, accents and punctuation, a space between; symbols such as $ are kept."""
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text)
        text = "".join(part for part in parts if not unicodedata.combining(part))
    text = _APOSTROPHES.sub("", text.casefold().translate(_APART))
    return " ".join(_SIGN.sub(_symbol_or_space, text).split())


def _symbol_or_space(sign: re.Match[str]) -> str:
    return sign[0] if unicodedata.category(sign[0])[0] in "SM" else " "


def _forms(title: str) -> list[str]:
    """How a title may be asked for, folded: as it is, its article first, its parts in brackets.

    "Seven Samurai, The (Shichinin no samurai)" is also "the seven samurai", "seven samurai the" and
    "shichinin no samurai".
    """
    parts = [title]
    if "(" in title:
        inside = (_ALIAS.sub("", part) for part in _BRACKETS.findall(title))
        parts += [_BRACKETS.sub("", title), *(part for part in inside if not part.isdigit())]
    for part in list(parts):
        if moved := _ARTICLE_LAST.match(part):
            space = " " if moved[2][-1].isalpha() else ""  # L'Avventura is one word
            parts.append(f"{moved[2]}{space}{moved[1]}")
    return list(dict.fromkeys(fold(part) for part in parts))
