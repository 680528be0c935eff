"""Titles as search compares them: without case, accents and punctuation.

They are folded when a bundle is written, since a catalogue of 100,000 takes about a second; what is
searched for is folded by the same `fold`: whoever changes it changes the format of bundles.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.columns import read_array, write_array

END = b"\n"  # folding leaves no line feed
_APART = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe"})
_APOSTROPHES = re.compile(r"['`\u2019\u02bc]")
_SIGN = re.compile(r"[^\w\s]")
_BRACKETS = re.compile(r"\s*\(([^()]*)\)")
_ALIAS = re.compile(r"^a\.?k\.?a\.? ", re.IGNORECASE)
_ARTICLE_LAST = re.compile(
    r"^(.+), (the|an?|l['\u2019]|l[aeo]s?|il|gli|un[ae]?|el|d(?:er|ie|as|en|et)|e[nt]|os?)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class FoldedTitles:
    """Every way to ask for each title, folded: F forms in the order of their titles.

    text: uint8 [T], the forms in UTF-8, each with END. owners: int32 [F], whose form it is.
    offsets: int64 [F + 1], where each begins. counts: int64 [256], how often each byte occurs.
    """

    text: NDArray[np.uint8]
    owners: NDArray[np.int32]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]

    @staticmethod
    def of(titles: Iterable[str]) -> FoldedTitles:
        """Fold every title."""
        text, owners, offsets = bytearray(), array("i"), array("q", [0])
        for item, title in enumerate(titles):
            for form in _forms(title):
                text += form.encode() + END
                owners.append(item)
                offsets.append(len(text))
        run = np.frombuffer(bytes(text), np.uint8)
        return FoldedTitles(
            run, np.array(owners, np.int32), np.array(offsets, np.int64),
            np.bincount(run, minlength=256),
        )  # fmt: skip

    def write(self, folder: Path) -> None:
        """Store the columns under `folder`."""
        for name in _COLUMNS:
            write_array(folder / f"{name}.npy", getattr(self, name))

    @staticmethod
    def read(folder: Path) -> FoldedTitles:
        """Memory-map what `write` stored."""
        return FoldedTitles(**{name: read_array(folder / f"{name}.npy") for name in _COLUMNS})


_COLUMNS = ("text", "owners", "offsets", "counts")


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
