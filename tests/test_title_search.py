"""Searching titles against a loop over them, and what people type for what is stored."""

from __future__ import annotations

import string
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.folded_titles import FoldedTitles, fold
from service.title_search import PREFIX, WHOLE, WITHIN, TitleSearch

TITLES = [
    "Toy Story",
    "Toy Story 2",
    "Godfather, The",
    "Godfather: Part II, The",
    "Amélie (Fabuleux destin d'Amélie Poulain, Le)",
    "Schindler's List",
    "Avventura, L' (Adventure, The)",
    "Seven (a.k.a. Se7en)",
    "Spider-Man",
    "WALL·E",
    "$ (Dollars)",
    "Den brysomme mannen (Bothersome Man, The)",
    "8½",
    "Ærøskøbing",
    "千と千尋の神隠し",
    "",
    "!!!",
    "Story of Us, The",
    "A Toy",
]


def search_of(titles: list[str]) -> TitleSearch:
    """A search as a bundle's titles have it."""
    return TitleSearch(FoldedTitles.of(titles), len(titles))


def found(query: str, titles: list[str] = TITLES) -> dict[str, int]:
    items, fits = search_of(titles).find(query)
    assert items.tolist() == sorted(set(items.tolist()))
    return {titles[item]: int(fit) for item, fit in zip(items, fits, strict=True)}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("toy story", {"Toy Story": WHOLE, "Toy Story 2": PREFIX}),
        ("STORY toy", {"Toy Story": WITHIN, "Toy Story 2": WITHIN}),
        ("the godfather", {"Godfather, The": WHOLE, "Godfather: Part II, The": PREFIX}),
        ("Godfather, The", {"Godfather, The": WHOLE, "Godfather: Part II, The": WITHIN}),
        ("godfather", {"Godfather, The": PREFIX, "Godfather: Part II, The": PREFIX}),
        ("amelie", {"Amélie (Fabuleux destin d'Amélie Poulain, Le)": WHOLE}),
        ("AME\u0301LIE", {"Amélie (Fabuleux destin d'Amélie Poulain, Le)": WHOLE}),
        ("le fabuleux destin", {"Amélie (Fabuleux destin d'Amélie Poulain, Le)": PREFIX}),
        ("schindlers", {"Schindler's List": PREFIX}),
        ("schindler\u2019s list", {"Schindler's List": WHOLE}),
        ("l'avventura", {"Avventura, L' (Adventure, The)": WHOLE}),
        ("the adventure", {"Avventura, L' (Adventure, The)": WHOLE}),
        ("se7en", {"Seven (a.k.a. Se7en)": WHOLE}),
        ("seven", {"Seven (a.k.a. Se7en)": WHOLE}),
        ("spider man", {"Spider-Man": WHOLE}),
        ("wall-e", {"WALL·E": WHOLE}),
        ("$", {"$ (Dollars)": WHOLE}),
        ("mannen bothersome", {"Den brysomme mannen (Bothersome Man, The)": WITHIN}),
        ("aeroskobing", {"Ærøskøbing": WHOLE}),
        ("千尋", {"千と千尋の神隠し": WITHIN}),
        ("ory", {"Toy Story": WITHIN, "Toy Story 2": WITHIN, "Story of Us, The": WITHIN}),
        ("toy godfather", {}),
        ("?!", {}),
        ("", {}),
        ("x" * 200, {}),
    ],
)  # fmt: skip
def test_people_find_what_they_mean(query: str, expected: dict[str, int]) -> None:
    assert found(query) == expected


def plain(text: str) -> str:
    """Lower case without marks, for the letters that `titles` draws from."""
    parts = unicodedata.normalize("NFD", text.lower())
    return "".join(part for part in parts if unicodedata.category(part) != "Mn")


titles = st.lists(st.text("abAB éÉàz1", max_size=8), max_size=12)
words = st.lists(st.text("abAé1", min_size=1, max_size=3), min_size=1, max_size=3)


@given(titles, words)
def test_a_loop_over_the_titles_finds_the_same(titles: list[str], words: list[str]) -> None:
    items, fits = search_of(titles).find(" ".join(words))
    phrase = " ".join(map(plain, words))
    expected = []
    for item, title in enumerate(titles):
        bare = " ".join(plain(title).split())
        if all(plain(word) in bare for word in words):
            fit = WHOLE if bare == phrase else PREFIX if bare.startswith(phrase) else WITHIN
            expected.append((item, fit))
    assert list(zip(items.tolist(), fits.tolist(), strict=True)) == expected


@given(st.text(max_size=30).filter(fold))
def test_every_title_is_found_by_itself(title: str) -> None:
    items, fits = search_of(["other", title, "z"]).find(title)
    assert 1 in items.tolist()
    assert fits[items.tolist().index(1)] == WHOLE


@given(st.text(string.printable))
def test_a_folded_text_is_words_with_a_space_between(text: str) -> None:
    assert fold(text) == " ".join(fold(text).split()) == fold(text.swapcase())


def test_an_empty_catalogue_holds_nothing() -> None:
    items, fits = search_of([]).find("toy")
    assert (len(items), len(fits)) == (0, 0)
    assert items.dtype == np.int64
