"""Who rates what in the synthetic world: how many items each user rates, and which.

Items are drawn one after another without putting back. Vectorised, that is: draw as many as are
missing, drop what the user has already, draw again; the few heavy users for whom this converges
slowly get exact draws (Gumbel keys), one row of items at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.sources.synthetic_world import World

ROUNDS = 40
FEWEST = 20  # ratings of a MovieLens user
MOST_SHARE = 0.5
GENERAL = 0.1  # share of choices made by popularity alone

Indices = NDArray[np.int64]


def activities(users: int, items: int, ratings: int, rng: np.random.Generator) -> Indices:
    """int64 [U] of at least 1 and at most `items`, summing exactly to `ratings`.

    Nobody rates more than MOST_SHARE of the items, unless so many ratings were asked for.
    """
    most = items if ratings > users * items * MOST_SHARE / 2 else int(items * MOST_SHARE)
    fewest = max(1, min(FEWEST, ratings // (2 * users)))
    share = rng.lognormal(0.0, 1.1, users)
    counts = np.full(users, fewest, np.int64)
    while missing := ratings - int(counts.sum()):
        room = most - counts
        weights = np.where(room > 0, share, 0.0)
        extra = np.floor(missing * weights / weights.sum()).astype(np.int64)
        if not extra.any():
            open_users = np.flatnonzero(room)
            extra[rng.permutation(open_users)[:missing]] = 1
        counts += np.minimum(extra, room)
    return counts


def first_raters(counts: Indices, items: int, rng: np.random.Generator) -> Indices:
    """int64 [I]: for each item a user who surely rates it, none given more than it can rate."""
    slots = rng.choice(int(counts.sum()), items, replace=False, shuffle=True)
    return np.searchsorted(np.cumsum(counts), slots, side="right").astype(np.int64)


def choose_items(
    world: World, first: int, counts: Indices, raters: Indices, rng: np.random.Generator
) -> Indices:
    """int64: counts[b] distinct items for each user first + b, grouped by user, order random."""
    items, users = len(raters), len(counts)
    assured = np.flatnonzero((raters >= first) & (raters < first + users))
    taken = np.sort((raters[assured] - first) * items + assured)
    for _ in range(ROUNDS):
        missing = counts - np.bincount(taken // items, minlength=users)
        if not missing.any():
            break
        drawn = _draw(world, first, np.repeat(np.arange(users), missing), rng)
        taken = _merge(taken, drawn)
    else:
        taken = _complete(world, first, counts, taken, items, rng)
    order = np.lexsort((rng.random(len(taken)), taken // items))
    return taken[order] % items


def _draw(world: World, first: int, users: Indices, rng: np.random.Generator) -> Indices:
    """One packed (user, item) per entry of `users`: a genre to taste, then an item in it."""
    items = len(world.by_genre)
    tastes = world.cumulative_tastes[first : first + int(users[-1]) + 1]
    flat = (tastes / tastes[:, -1:] + np.arange(len(tastes))[:, None]).ravel()
    genre = np.searchsorted(flat, rng.random(len(users)) + users, side="right")
    genre -= users * tastes.shape[1]
    totals = np.append(0.0, world.cumulative_popularity)
    low, high = totals[world.genre_ends[:-1]], totals[world.genre_ends[1:]]
    general = rng.random(len(users)) < GENERAL
    start = np.where(general, 0.0, low[genre])
    width = np.where(general, totals[-1], high[genre] - low[genre])
    at = np.searchsorted(world.cumulative_popularity, start + rng.random(len(users)) * width)
    chosen: Indices = users * items + world.by_genre[at.clip(max=items - 1)]
    return chosen


def _merge(taken: Indices, drawn: Indices) -> Indices:
    """Sorted `taken` and those of `drawn` it does not hold; merging two sorted runs is linear."""
    fresh = np.unique(drawn)
    if len(taken):
        at = np.searchsorted(taken, fresh).clip(max=len(taken) - 1)
        fresh = fresh[taken[at] != fresh]
    return np.sort(np.concatenate([taken, fresh]), kind="stable")


def _complete(
    world: World, first: int, counts: Indices, taken: Indices, items: int, rng: np.random.Generator
) -> Indices:
    """Give users what they still miss by their largest Gumbel keys, one user at a time."""
    missing = counts - np.bincount(taken // items, minlength=len(counts))
    parts = [taken]
    for user in np.flatnonzero(missing):
        keys = np.log(_chances(world, first + int(user))) + rng.gumbel(size=items)
        keys[taken[taken // items == user] % items] = -np.inf
        parts.append(user * items + np.argsort(-keys)[: missing[user]])
    return np.sort(np.concatenate(parts))


def _chances(world: World, user: int) -> NDArray[np.float64]:
    """float64 [I]: how likely each item is this user's next choice."""
    popularity = np.diff(world.cumulative_popularity, prepend=0.0)
    taste = np.diff(world.cumulative_tastes[user], prepend=0.0)
    totals = np.append(0.0, world.cumulative_popularity)
    weights = np.diff(totals[world.genre_ends])
    per_genre = np.divide(taste, weights, out=np.zeros_like(taste), where=weights > 0)
    genre = np.repeat(np.arange(len(taste)), np.diff(world.genre_ends))
    chances = np.empty(len(popularity))
    share = GENERAL / popularity.sum() + (1 - GENERAL) * per_genre[genre]
    chances[world.by_genre] = popularity * share
    return chances
