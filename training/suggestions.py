"""The names that a mistyped one was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST = 2
LIKENESS = 0.6


def meant(name: str, known: Iterable[str]) -> str:
    """` (did you mean ml-100k?)`, to go behind a name that is not known; "" if none is near."""
    by_lower = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), by_lower, MOST, LIKENESS)
    return f" (did you mean {' or '.join(by_lower[one] for one in near)}?)" if near else ""
