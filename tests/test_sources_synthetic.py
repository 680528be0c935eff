"""Synthetic ratings: as many as asked for, no pair twice, the same by seed, and worth learning."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.errors import DataError
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings
from training.sources.synthetic import SyntheticSize, generate
from training.sources.synthetic_choices import activities


@st.composite
def sizes(draw: st.DrawFn) -> SyntheticSize:
    users, items = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    ratings = draw(st.integers(max(users, items), users * items))
    return SyntheticSize(users, items, ratings, draw(st.integers(0, 3)))


@given(size=sizes())
@settings(max_examples=60)
def test_counts_are_exact_and_no_pair_comes_twice(size: SyntheticSize) -> None:
    ratings = generate(size)
    assert len(ratings) == size.ratings
    assert len(set(zip(ratings.users.tolist(), ratings.items.tolist(), strict=True))) == len(
        ratings
    )
    assert set(ratings.users.tolist()) == set(range(size.users))
    assert set(ratings.items.tolist()) == set(range(size.items))
    assert len(ratings.user_ids) == size.users and len(ratings.catalog) == size.items
    assert np.isin(ratings.values, ratings.scale.levels).all()


@given(size=sizes())
@settings(max_examples=30)
def test_the_seed_decides_everything(size: SyntheticSize) -> None:
    assert generate(size).digest == generate(size).digest


def test_another_seed_gives_other_ratings() -> None:
    first, second = (generate(SyntheticSize(seed=seed)) for seed in (1, 2))
    assert first.digest != second.digest
    assert list(first.catalog.titles) != list(second.catalog.titles)


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return load_ratings("synthetic:users=2000,items=800,ratings=100000,seed=5", SourceSettings())


def test_the_shape_is_that_of_movielens(ratings: Ratings) -> None:
    by_item = np.sort(np.bincount(ratings.items))[::-1]
    by_user = np.bincount(ratings.users)
    assert by_item[: len(by_item) // 10].sum() > 0.35 * len(ratings)
    assert by_item[0] > 6 * np.median(by_item)
    assert by_user.min() >= 20 and by_user.max() > 4 * np.median(by_user)
    assert 3.2 < ratings.values.mean() < 3.9
    assert 0.8 < ratings.values.std() < 1.2
    assert set(np.unique(ratings.values)) == set(np.arange(0.5, 5.5, 0.5))


def test_ids_order_and_columns_are_those_of_every_source(ratings: Ratings) -> None:
    assert ratings.user_ids.tolist() == sorted(str(n).encode() for n in range(1, 2001))
    assert list(ratings.catalog.ids) == [str(n) for n in range(1, 801)]
    assert ratings.times is not None
    columns = (ratings.users, ratings.items, ratings.values, ratings.times)
    assert [column.dtype for column in columns] == [np.int32, np.int32, np.float32, np.int64]


def test_items_have_titles_years_and_genres(ratings: Ratings) -> None:
    catalog = ratings.catalog
    assert len(set(catalog.titles)) == len(catalog)
    assert catalog.years.min() >= 1930 and catalog.years.max() <= 2005
    assert catalog.genres.any(axis=1).all() and catalog.genres.any(axis=0).all()


def test_each_user_rates_forward_in_time_after_the_films_were_made(ratings: Ratings) -> None:
    assert ratings.times is not None
    same_user = np.diff(ratings.users) == 0
    assert (np.diff(ratings.times)[same_user] > 0).all()
    assert ratings.times.min() >= 1_136_073_600  # 2006-01-01


def test_genres_carry_taste(ratings: Ratings) -> None:
    """Users reach for some genres, and rate some higher, far beyond chance."""
    rng = np.random.default_rng(0)
    residual = residuals(ratings)
    assert uneven(ratings, ratings.items, np.ones(len(ratings))) > 2 * uneven(
        ratings, rng.permutation(ratings.items), np.ones(len(ratings))
    )
    assert uneven(ratings, ratings.items, residual) > 1.3 * uneven(
        ratings, ratings.items, rng.permutation(residual)
    )


def uneven(ratings: Ratings, items: NDArray[np.int32], weights: NDArray[np.float64]) -> float:
    """How much the weight per genre differs between users: its variance, summed over genres."""
    users = np.bincount(ratings.users)
    sums = [np.bincount(ratings.users, has * weights) for has in ratings.catalog.genres[items].T]
    return float(np.var(np.stack(sums) / users, axis=1).sum())


def test_taste_is_more_than_biases(ratings: Ratings) -> None:
    """What biases leave over has a low-rank part: its top eigenvalues stand out from noise."""
    table = np.zeros((2000, 800))
    table[ratings.users, ratings.items] = residuals(ratings)
    shuffled = np.zeros_like(table)
    order = np.random.default_rng(0).permutation(len(ratings))
    shuffled[ratings.users, ratings.items] = residuals(ratings)[order]
    top, noise = (np.linalg.eigvalsh(m.T @ m)[::-1][:3] for m in (table, shuffled))
    assert (top > 1.5 * noise).all()


def residuals(ratings: Ratings) -> NDArray[np.float64]:
    """What is left of each rating after item means and then user means."""
    left: NDArray[np.float64] = ratings.values.astype(np.float64) - ratings.values.mean()
    for rows in (ratings.items, ratings.users):
        left = left - (np.bincount(rows, weights=left) / np.bincount(rows))[rows]
    return left


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0, 1), st.integers(0, 9))
def test_activities_sum_to_what_was_asked(users: int, items: int, share: float, seed: int) -> None:
    fewest, most = max(users, items), users * items
    wanted = fewest + round(share * (most - fewest))
    counts = activities(users, items, wanted, np.random.default_rng(seed))
    assert counts.sum() == wanted and counts.min() >= 1 and counts.max() <= items


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("synthetic:user=3", r"'user=3' is not users=, items=, ratings= or seed="),
        ("synthetic:users=many", r"'users=many' is not users="),
        ("synthetic:users=-3", r"'users=-3' is not users="),
        ("synthetic:users", r"'users' is not users="),
        ("synthetic:users=10,items=10,ratings=101", r"asks for 101 .* give 10 to 100 ratings"),
        ("synthetic:users=10,items=20,ratings=19", r"asks for 19 .* give 20 to 200 ratings"),
        ("synthetic:users=0", r"asks for 100000 ratings by 0 users"),
    ],
)
def test_what_cannot_be_generated_is_told(name: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        load_ratings(name, SourceSettings())


def test_the_name_says_what_was_generated() -> None:
    ratings = load_ratings("synthetic: users=20, items=30, ratings=100", SourceSettings())
    assert ratings.origin.source == "synthetic:users=20,items=30,ratings=100,seed=0"
    assert load_ratings(ratings.origin.source, SourceSettings()).digest == ratings.digest


def test_memory_grows_with_ratings_and_not_with_users_times_items() -> None:
    """A users x items matrix of bits would need 1.25 GB here; the ratings need 20 MB."""
    tracemalloc.start()
    try:
        load_ratings("synthetic:users=100000,items=100000,ratings=1000000", SourceSettings())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500e6
