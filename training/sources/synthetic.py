"""MovieLens-shaped ratings of any size, generated: same seed, same ratings.

    activity     a few users rate thousands of items, most rate tens (log-normal)
    popularity   a few items get most ratings (power law), and better ones a little more
    taste        low rank: a user's taste mixes genres, an item is its genres plus its own self
    rating       mean + user bias + item bias + taste + noise, rounded to half stars
    time         each user comes at one time and rates item after item

What a user rates follows the same taste as how, so there is something to learn for ranking and
for rating. Users are worked through in blocks of about a million ratings; nothing of the size
users x items exists. Every user and every item is rated, and no pair twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.ratings import Origin, Ratings
from training.sources.releases import HALF_STARS
from training.sources.synthetic_choices import activities, choose_items, first_raters
from training.sources.synthetic_world import World, make_world

BLOCK_RATINGS = 1_000_000
NOISE = 0.75
START, SPAN_S = 1_136_073_600, 17 * 365 * 86_400  # from 2006, after every item's year


@dataclass(frozen=True)
class SyntheticSize:
    """What is asked for: `synthetic:users=..,items=..,ratings=..,seed=..`."""

    users: int = 1_000
    items: int = 2_000
    ratings: int = 100_000
    seed: int = 0


def load_synthetic(name: str) -> Ratings:
    """Generate what the name asks for. Raises DataError if it asks for the impossible."""
    return generate(parse_size(name))


def parse_size(name: str) -> SyntheticSize:
    """Read `synthetic[:key=value,...]`."""
    values: dict[str, int] = {}
    for part in filter(None, name.partition(":")[2].split(",")):
        key, _, number = (text.strip() for text in part.partition("="))
        if key not in SyntheticSize.__dataclass_fields__ or not number.isdecimal():
            raise DataError(
                f"{name!r}: {part!r} is not users=, items=, ratings= or seed= with a whole number; "
                "write for example synthetic:users=1000,items=2000,ratings=100000,seed=0."
            )
        values[key] = int(number)
    size = SyntheticSize(**values)
    _check_possible(name, size)
    return size


def generate(size: SyntheticSize) -> Ratings:
    """The ratings, grouped by user in order of time; 20 bytes each and one block's working room."""
    world_seed, choice_seed = np.random.SeedSequence(size.seed).spawn(2)
    rng = np.random.default_rng(world_seed)
    counts = activities(size.users, size.items, size.ratings, rng)
    world = make_world(size.users, size.items, rng)
    raters = first_raters(counts, size.items, rng)
    columns = _Columns.empty(size.ratings)
    end = 0
    blocks = list(_blocks(counts))
    for (first, last), seed in zip(blocks, choice_seed.spawn(len(blocks)), strict=True):
        start, end = end, end + int(counts[first:last].sum())
        columns.fill(start, first, counts[first:last], world, raters, np.random.default_rng(seed))
    return Ratings(
        users=columns.users,
        items=columns.items,
        values=columns.values,
        times=columns.times,
        user_ids=np.sort(np.arange(1, size.users + 1).astype(np.bytes_)),
        catalog=world.catalog,
        scale=HALF_STARS,
        origin=Origin(_name(size), "none: generated"),
    )


@dataclass(frozen=True)
class _Columns:
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    times: NDArray[np.int64]

    @staticmethod
    def empty(count: int) -> _Columns:
        return _Columns(
            np.empty(count, np.int32),
            np.empty(count, np.int32),
            np.empty(count, np.float32),
            np.empty(count, np.int64),
        )

    def fill(
        self,
        start: int,
        first: int,
        counts: NDArray[np.int64],
        world: World,
        raters: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> None:
        """Write one block of users, the first of which is `first`, from row `start` on."""
        users = np.repeat(np.arange(first, first + len(counts)), counts)
        items = choose_items(world, first, counts, raters, rng)
        rows = slice(start, start + len(users))
        self.users[rows], self.items[rows] = users, items
        self.values[rows] = _rate(world, users, items, rng)
        self.times[rows] = _times(counts, rng)


def _rate(
    world: World, users: NDArray[np.int64], items: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Rated values, float32, on the half-star scale."""
    taste = np.einsum("nk,nk->n", world.user_factors[users], world.item_factors[items])
    noise = NOISE * rng.standard_normal(len(users), np.float32)
    stars: NDArray[np.float32] = (
        world.mean + world.user_biases[users] + world.item_biases[items] + taste + noise
    )
    np.clip(np.rint(stars * 2) / 2, HALF_STARS.minimum, HALF_STARS.maximum, out=stars)
    return stars


def _times(counts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Unix seconds, ascending within a user: a start anywhere in the years, then a pause each."""
    total = int(counts.sum())
    pauses = rng.pareto(1.2, total).clip(max=50_000) * 20 + 1
    elapsed = np.cumsum(pauses)
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(rng.integers(0, SPAN_S, len(counts)), counts)
    times: NDArray[np.int64] = START + starts + (elapsed - elapsed[firsts]).astype(np.int64)
    return times


def _blocks(counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of users that hold about BLOCK_RATINGS ratings each."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        filled = ends[first] - counts[first] + BLOCK_RATINGS
        last = max(first + 1, int(np.searchsorted(ends, filled, side="right")))
        yield first, last
        first = last


def _name(size: SyntheticSize) -> str:
    return (
        f"synthetic:users={size.users},items={size.items},ratings={size.ratings},seed={size.seed}"
    )


def _check_possible(name: str, size: SyntheticSize) -> None:
    fewest, most = max(size.users, size.items), size.users * size.items
    if not (1 <= fewest <= size.ratings <= most):
        raise DataError(
            f"{name!r} asks for {size.ratings} ratings by {size.users} users of {size.items} "
            f"items; give {fewest} to {most} ratings, so that all have one and no pair has two."
        )
