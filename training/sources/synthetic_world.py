"""The synthetic world: who its users are, what its items are. Arrays of users or of items only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.catalog import Catalog
from training.sources.synthetic_words import GENRES, title

FACTORS = 8


@dataclass(frozen=True)
class World:
    """U users and I items, G genres, FACTORS dimensions of taste.

    cumulative_tastes: float64 [U, G], each user's chance to reach for genre 0..g. by_genre: int64
    [I], items grouped by main genre; cumulative_popularity: float64 [I], summed in that order;
    genre_ends: int64 [G + 1], where each genre's group lies in it.
    """

    mean: float
    user_biases: NDArray[np.float32]
    item_biases: NDArray[np.float32]
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    cumulative_tastes: NDArray[np.float64]
    by_genre: NDArray[np.int64]
    cumulative_popularity: NDArray[np.float64]
    genre_ends: NDArray[np.int64]
    catalog: Catalog


def make_world(users: int, items: int, rng: np.random.Generator) -> World:
    """Draw the world: O(users + items) memory."""
    genre_shares = rng.dirichlet(np.full(len(GENRES), 2.0))
    main = rng.choice(len(GENRES), items, p=genre_shares)
    flavours = rng.standard_normal((len(GENRES), FACTORS)).astype(np.float32)
    tastes = _tastes(users, main, rng)
    user_factors = (tastes.astype(np.float32) - tastes.mean(0)) @ flavours
    user_factors += 0.15 * rng.standard_normal((users, FACTORS), np.float32)
    item_factors = flavours[main] + 0.7 * rng.standard_normal((items, FACTORS), np.float32)
    popularity = _popularity(items, rng)
    charm = np.log(popularity) - np.log(popularity).mean()
    item_biases = 0.38 * rng.standard_normal(items) + 0.08 * charm
    by_genre = np.argsort(main, kind="stable")
    ends = np.searchsorted(main[by_genre], np.arange(len(GENRES) + 1))
    return World(
        mean=3.3,
        user_biases=(0.4 * rng.standard_normal(users)).astype(np.float32),
        item_biases=item_biases.astype(np.float32),
        user_factors=_scaled(user_factors, 0.33),
        item_factors=_scaled(item_factors, 0.55),
        cumulative_tastes=np.cumsum(tastes, axis=1),
        by_genre=by_genre,
        cumulative_popularity=np.cumsum(popularity[by_genre]),
        genre_ends=ends,
        catalog=_catalog(main, rng),
    )


def _tastes(users: int, main: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """How likely each user is to reach for each genre that has items. float64 [U, G]."""
    weights = rng.gamma(0.3, size=(users, len(GENRES))) + 0.01
    weights *= np.bincount(main, minlength=len(GENRES)) ** 0.5
    shares: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _popularity(items: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A power law over ranks with a flattened head, in random order. float64 [I]."""
    ranks = np.arange(items)
    return rng.permutation((ranks + 0.02 * items + 3.0) ** -1.3)


def _scaled(factors: NDArray[np.float32], spread: float) -> NDArray[np.float32]:
    """Factors with a mean square of `spread` squared."""
    scale = spread / max(float(np.sqrt(np.mean(np.square(factors)))), 1e-12)
    return (factors * scale).astype(np.float32)


def _catalog(main: NDArray[np.int64], rng: np.random.Generator) -> Catalog:
    """Titles, years 1930 to 2005, the main genre and up to two more."""
    count = len(main)
    genres = rng.random((count, len(GENRES))) < 0.06
    genres[np.arange(count), main] = True
    years = (2005 - rng.exponential(15, count).clip(max=75)).astype(np.int16)
    return Catalog(
        ids=[str(n) for n in range(1, count + 1)],
        titles=[title(n) for n in rng.permutation(count).tolist()],
        years=years,
        genre_names=list(GENRES),
        genres=genres,
    )
