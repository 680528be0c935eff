"""Filters: which items of the catalogue a caller allows, as a mask the graph applies itself.

Genres and years are properties of items, so a filter is one bool per item, made once and kept;
requests with the same filter share one row of the graph's mask. Excluded and already rated items
are each user's own and travel as lists of items instead.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.catalog import Catalog
from service.errors import Fault, UnknownGenre
from service.schemas import Narrowing

KEPT = 256  # masks of a large catalogue weigh 88 kB each


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """One filter. `key` names it; `allowed` is bool [I]."""

    key: tuple[tuple[str, ...], int | None, int | None]
    allowed: NDArray[np.bool_] = field(repr=False, compare=False)


class Filters:
    """The filters of one catalogue, the latest used kept."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._genre_index = {name: g for g, name in enumerate(catalog.genre_names)}
        self._kept: OrderedDict[object, ItemFilter] = OrderedDict()

    def of(self, chosen: Narrowing) -> ItemFilter:
        """The filter a request asks for. Raises UnknownGenre, naming the genres there are.

        An item whose year is unknown passes no filter on years.
        """
        key = (tuple(sorted(set(chosen.genre))), chosen.year_min, chosen.year_max)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = ItemFilter(key, self._mask(*key))
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return kept

    def _mask(
        self, genres: tuple[str, ...], year_min: int | None, year_max: int | None
    ) -> NDArray[np.bool_]:
        self._check_genres(genres)
        allowed = np.ones(len(self._catalog), np.bool_)
        if genres:
            columns = [self._genre_index[genre] for genre in genres]
            allowed &= self._catalog.genres[:, columns].any(axis=1)
        years = self._catalog.years
        if year_min is not None or year_max is not None:
            allowed &= years > 0
        if year_min is not None:
            allowed &= years >= year_min
        if year_max is not None:
            allowed &= years <= year_max
        return allowed

    def _check_genres(self, genres: tuple[str, ...]) -> None:
        unknown = [genre for genre in genres if genre not in self._genre_index]
        if unknown:
            known = ", ".join(self._catalog.genre_names)
            raise UnknownGenre(
                f"The catalogue has no genre {', '.join(unknown)}; it has {known}.",
                [Fault("genre", f"{genre} is not a genre of the catalogue") for genre in unknown],
            )
