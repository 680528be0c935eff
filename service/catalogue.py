"""The use case of the catalogue: finding items, one item, and the items that are like it.

It reads what the bundle holds and computes nothing of the model, so answers take neither the
graphs nor the cache. What is wrong with an id of an address is a 404 here, not a 422.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.catalog import Catalog
from service.answers import item_members, model_members, shortfall, to_json
from service.errors import Fault, NoSuchItem
from service.filters import Filters
from service.item_schemas import ItemQuery, SimilarQuery
from service.rounding import rounded
from service.title_search import TitleSearch


class Catalogue:
    """The items of one bundle."""

    def __init__(self, bundle: Bundle, filters: Filters) -> None:
        self._catalog = bundle.catalog
        self._columns = bundle.items
        self._filters = filters
        self._model = model_members(bundle)
        self._titles = TitleSearch(bundle.folded_titles, len(bundle.catalog))
        counts = np.asarray(bundle.items.rating_counts, np.int64)
        self._most_rated = np.argsort(-counts, kind="stable")
        self._place = np.empty_like(self._most_rated)
        self._place[self._most_rated] = np.arange(len(counts))

    def page(self, asked: ItemQuery) -> bytes:
        """A page of the items that fit. Raises UnknownGenre."""
        allowed = self._filters.of(asked).allowed
        items = self._ordered(asked.query)
        items = items[allowed[items]]
        shown = items[asked.offset : asked.offset + asked.limit]
        return to_json(
            {
                "model": self._model,
                "total": len(items),
                "limit": asked.limit,
                "offset": asked.offset,
                "items": [self._item(item) for item in shown.tolist()],
            }
        )

    def card(self, item_id: str) -> bytes:
        """One item. Raises NoSuchItem."""
        return to_json({"model": self._model} | self._item(item_of(item_id, self._catalog)))

    def similar(self, item_id: str, asked: SimilarQuery) -> bytes:
        """The nearest of the stored neighbours that fit. Raises NoSuchItem, UnknownGenre.

        Items at a right angle or beyond are no neighbours, though a small catalogue stores them.
        """
        item = item_of(item_id, self._catalog)
        near, cosines = self._columns.neighbours[item], self._columns.cosines[item]
        kept = np.flatnonzero(self._filters.of(asked).allowed[near] & (cosines > 0))[: asked.k]
        similarities = zip(near[kept].tolist(), rounded(cosines[kept]), strict=True)
        members = {
            "model": self._model,
            "item": self._item(item),
            "items": [self._item(other) | {"similarity": s} for other, s in similarities],
        }
        if len(kept) < asked.k:
            reason = f"of the {len(near)} nearest are similar and pass the filters"
            members["shortfall"] = shortfall(asked.k, len(kept), reason)
        return to_json(members)

    def _ordered(self, query: str | None) -> NDArray[np.int64]:
        """The items whose titles fit a query, all of them without one, best first."""
        if query is None:
            return self._most_rated
        items, fits = self._titles.find(query)
        return items[np.lexsort((self._place[items], fits))]

    def _item(self, item: int) -> dict[str, Any]:
        rating_count = int(self._columns.rating_counts[item])
        return item_members(self._catalog, item) | {"rating_count": rating_count}


def item_of(item_id: str, catalog: Catalog) -> int:
    """The row of an item named by an address. Raises NoSuchItem."""
    item = catalog.index_by_id.get(item_id)
    if item is None:
        detail = f"{item_id} is not in the catalogue"
        raise NoSuchItem(f"The catalogue has no item {item_id}.", [Fault("item_id", detail)])
    return item
