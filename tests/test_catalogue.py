"""The catalogue over HTTP: searched, told of and compared, against loops over the bundle."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from models.bundle import Bundle
from models.folded_titles import FoldedTitles
from service.api.parsing import read_query
from service.catalogue import Catalogue
from service.filters import Filters
from service.item_schemas import ItemCard, ItemPage, ItemQuery, SimilarItems
from tests.api_parts import problem

NEIGHBOURS = 100


def ids_of(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def item_by_hand(bundle: Bundle, row: int) -> dict[str, Any]:
    catalog = bundle.catalog
    return {
        "item_id": catalog.ids[row],
        "title": catalog.titles[row],
        "year": int(catalog.years[row]) or None,
        "genres": catalog.genres_of(row),
        "rating_count": int(bundle.items.rating_counts[row]),
    }


def most_rated(bundle: Bundle, rows: list[int]) -> list[int]:
    return sorted(rows, key=lambda row: (-int(bundle.items.rating_counts[row]), row))


def bare(title: str) -> str:
    """Synthetic titles are ASCII words, a colon or a comma at most between them."""
    assert unicodedata.is_normalized("NFKD", title)
    return " ".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


# ---- search


def test_pages_together_are_the_catalogue_most_rated_first(
    client: httpx.Client, bundle: Bundle
) -> None:
    found = []
    for offset in range(0, 140, 35):
        answer = client.get("/v1/items", params={"limit": 35, "offset": offset}).json()
        ItemPage.model_validate(answer)
        assert (answer["limit"], answer["offset"], answer["total"]) == (35, offset, 120)
        assert answer["model"] == {"version": "tiny", "digest": bundle.digest}
        found += answer["items"]
    rows = most_rated(bundle, list(range(120)))
    assert found == [item_by_hand(bundle, row) for row in rows]
    assert len(client.get("/v1/items").json()["items"]) == 20


def test_a_search_finds_what_a_loop_does(client: httpx.Client, bundle: Bundle) -> None:
    titles = [bare(title) for title in bundle.catalog.titles]
    shared = max((word for title in titles for word in title.split()), key=lambda word: sum(
        word in title for title in titles))  # fmt: skip
    for query in (titles[5], titles[7].upper(), shared, shared[:-1], titles[9][2:6], "zzz"):
        answer = client.get("/v1/items", params={"query": query, "limit": 100}).json()
        words = query.lower().split()
        rows = [r for r, title in enumerate(titles) if all(word in title for word in words)]
        asked = " ".join(words)

        def place(row: int, asked: str = asked) -> tuple[bool, bool, int, int]:
            whole, begins = titles[row] == asked, titles[row].startswith(asked)
            return not whole, not begins, -int(bundle.items.rating_counts[row]), row

        expected = [bundle.catalog.ids[row] for row in sorted(rows, key=place)]
        assert ids_of(answer) == expected[:100]
        assert answer["total"] == len(expected)
    assert answer["items"] == []
    assert bundle.catalog.ids[5] == ids_of(client.get(f"/v1/items?query={titles[5]}").json())[0]


def test_a_search_is_filtered_as_recommendations_are(client: httpx.Client, bundle: Bundle) -> None:
    catalog = bundle.catalog
    parameters = {"genre": ["Comedy", "Drama"], "year_min": "1970", "year_max": "2000"}
    answer = client.get("/v1/items", params=parameters | {"query": "e", "limit": "100"}).json()
    expected = {
        catalog.ids[row]
        for row in range(120)
        if {"Comedy", "Drama"} & set(catalog.genres_of(row))
        and 1970 <= catalog.years[row] <= 2000
        and "e" in catalog.titles[row].lower()
    }
    assert expected
    assert set(ids_of(answer)) == expected
    assert answer["total"] == len(expected)
    last = client.get("/v1/items", params=parameters | {"query": "e", "offset": "999999"}).json()
    assert (last["items"], last["total"]) == ([], len(expected))


def test_a_query_may_be_accented_and_come_in_plain_utf_8(
    client: httpx.Client, bundle: Bundle
) -> None:
    word = bare(bundle.catalog.titles[5])
    accented = word.replace("a", "á").replace("e", "é").replace("o", "ö")
    assert accented != word
    assert bundle.catalog.ids[5] in ids_of(
        client.get("/v1/items", params={"query": accented}).json()
    )
    plain = read_query(ItemQuery, f"query={accented}".replace(" ", "+").encode())
    assert plain == ItemQuery(query=accented)


def test_how_well_a_title_fits_comes_before_how_often_it_was_rated(bundle: Bundle) -> None:
    order = most_rated(bundle, list(range(120)))
    titles = [""] * 120
    for place, title in ((0, "A Toy"), (5, "My toys"), (50, "Toy Two"), (60, "Toys"), (119, "Toy")):
        titles[order[place]] = title
    renamed = Bundle(bundle.path, bundle.digest, bundle.manifest)
    vars(renamed)["catalog"] = replace(bundle.catalog, titles=titles)
    vars(renamed)["folded_titles"] = FoldedTitles.of(titles)
    page = json.loads(Catalogue(renamed, Filters(renamed.catalog)).page(ItemQuery(query="toy")))
    found = [item["title"] for item in page["items"]]
    assert found == ["Toy", "Toy Two", "Toys", "A Toy", "My toys"]


# ---- one item, and what is like it


def test_an_item_is_told(client: httpx.Client, bundle: Bundle) -> None:
    for row in (0, 50, 119):
        answer = client.get(f"/v1/items/{bundle.catalog.ids[row]}").json()
        ItemCard.model_validate(answer)
        assert answer.pop("model")["digest"] == bundle.digest
        assert answer == item_by_hand(bundle, row)


def test_similar_items_are_the_bundles_neighbours(client: httpx.Client, bundle: Bundle) -> None:
    for row in (3, 77):
        answer = client.get(f"/v1/items/{bundle.catalog.ids[row]}/similar").json()
        SimilarItems.model_validate(answer)
        assert answer["item"] == item_by_hand(bundle, row)
        assert "shortfall" not in answer
        near, cosines = bundle.items.neighbours[row, :10], bundle.items.cosines[row, :10]
        for item, other, cosine in zip(answer["items"], near, cosines, strict=True):
            assert item.pop("similarity") == pytest.approx(float(cosine), abs=0.0006)
            assert item == item_by_hand(bundle, int(other))


def test_filters_leave_fewer_neighbours_and_say_so(client: httpx.Client, bundle: Bundle) -> None:
    catalog, row = bundle.catalog, 11
    parameters = {"k": "100", "genre": "Comedy", "year_min": "1960"}
    answer = client.get(f"/v1/items/{catalog.ids[row]}/similar", params=parameters).json()
    expected = [
        catalog.ids[other]
        for other, cosine in zip(
            bundle.items.neighbours[row].tolist(), bundle.items.cosines[row], strict=True
        )
        if cosine > 0 and "Comedy" in catalog.genres_of(other) and catalog.years[other] >= 1960
    ]
    assert expected
    assert ids_of(answer) == expected
    assert answer["shortfall"]["requested"] == 100
    assert answer["shortfall"]["returned"] == len(expected)
    assert f"of the {NEIGHBOURS} nearest" in answer["shortfall"]["detail"]


def test_what_points_away_is_no_neighbour(client: httpx.Client, bundle: Bundle) -> None:
    row = int(np.argmin(bundle.items.cosines[:, -1]))
    assert bundle.items.cosines[row, -1] < 0
    answer = client.get(f"/v1/items/{bundle.catalog.ids[row]}/similar?k=100").json()
    assert len(answer["items"]) == int((bundle.items.cosines[row] > 0).sum())
    assert answer["shortfall"]["returned"] == len(answer["items"])


# ---- errors


@pytest.mark.parametrize("path", ["/v1/items/no-such-item", "/v1/items/no-such-item/similar"])
def test_an_item_nobody_knows_is_not_found(client: httpx.Client, path: str) -> None:
    document = problem(client.get(path), 404)
    assert document["type"] == "urn:usher:problem:no-such-item"
    assert "no-such-item" in document["detail"]
    assert document["errors"][0]["where"] == "item_id"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("items?limit=0", "query limit"),
        ("items?limit=101", "query limit"),
        ("items?offset=-1", "query offset"),
        ("items?offset=1000001", "query offset"),
        ("items?limit=1&limit=2", "given more than once"),
        ("items?query=a&query=b", "given more than once"),
        ("items?query=" + "x" * 201, "query query"),
        ("items?k=3", "there are genre, year_min, year_max, query, limit, offset"),
        ("items?year_min=2000&year_max=1990", "year_min is later"),
        ("items/1/similar?k=0", "query k"),
        ("items/1/similar?exclude=3", "there are genre, year_min, year_max, k"),
        ("items/1?k=3", "no parameters"),
        ("items/a%20b", "item_id: an id has"),
        ("items/" + "x" * 129 + "/similar", "item_id: an id has"),
    ],
)
def test_a_bad_parameter_is_named(client: httpx.Client, address: str, told: str) -> None:
    assert told in problem(client.get(f"/v1/{address}"), 422)["detail"]


@pytest.mark.parametrize("path", ["items", "items/{id}/similar"])
def test_an_unknown_genre_is_told_with_the_known(
    client: httpx.Client, bundle: Bundle, path: str
) -> None:
    address = f"/v1/{path}?genre=Knitting".replace("{id}", bundle.catalog.ids[0])
    document = problem(client.get(address), 422)
    assert document["type"] == "urn:usher:problem:unknown-genre"
    assert all(name in document["detail"] for name in bundle.catalog.genre_names)
