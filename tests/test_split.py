"""Splits: what is fitted on, seen and hidden never overlaps, and every protocol keeps its word."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.catalog import Catalog
from models.manifest import RatingScale
from training.errors import ProtocolError
from training.ratings import Origin, Ratings
from training.sources import SourceSettings, load_ratings
from training.split import PROTOCOLS, Fold, Split, split_ratings

GENERAL = ["random", "temporal", "users", "users-liked"]
HELD_OUT = ["users", "users-liked"]


def make_ratings(users: list[int], values: list[float], times: list[int] | None = None) -> Ratings:
    """One new item per rating."""
    count = len(users)
    ids = [str(n) for n in range(count)]
    return Ratings(
        users=np.array(users, np.int32),
        items=np.arange(count, dtype=np.int32),
        values=np.array(values, np.float32),
        times=None if times is None else np.array(times, np.int64),
        user_ids=np.sort(np.arange(max(users) + 1).astype(np.bytes_)),
        catalog=Catalog(ids, ids, np.zeros(count, np.int16), [], np.zeros((count, 0), bool)),
        scale=RatingScale(minimum=1, maximum=5, step=1),
        origin=Origin("test", "none"),
    )


@st.composite
def rating_sets(draw: st.DrawFn) -> Ratings:
    """10 to 30 users with 5 to 14 ratings each, at least five of them liked, in any row order."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    counts = rng.integers(5, 15, draw(st.integers(10, 30)))
    users = np.repeat(np.arange(len(counts)), counts)
    order = rng.permutation(len(users))
    first_five = np.concatenate([np.arange(count) < 5 for count in counts])
    values = np.where(first_five, rng.integers(4, 6, len(users)), rng.integers(1, 6, len(users)))
    times = rng.integers(0, draw(st.sampled_from([3, 50, 100_000])), len(users))
    return make_ratings(users[order].tolist(), values[order].tolist(), times.tolist())


def folds(split: Split) -> list[Fold]:
    return [split.validation, *split.tests]


def arrays(split: Split) -> list[NDArray[np.int64]]:
    both = [rows for fold in folds(split) for rows in (fold.visible, fold.hidden)]
    return [split.fit, split.refit, *both]


def union(*parts: NDArray[np.int64]) -> list[int]:
    """All rows of parts that have none in common, sorted."""
    rows = np.concatenate(parts)
    assert len(np.unique(rows)) == len(rows)
    return np.sort(rows).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("protocol", GENERAL)
@given(ratings=rating_sets(), seed=st.integers(0, 5))
def test_row_arrays_are_ascending_int64_and_hidden_rows_are_seen_by_nobody(
    protocol: str, ratings: Ratings, seed: int
) -> None:
    split = split_ratings(ratings, protocol, seed)
    for rows in arrays(split):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
    assert split.validation.name == "validation"
    for fold in folds(split):
        assert len(fold.hidden) > 0
        assert not set(fold.visible) & set(fold.hidden)
    for test in split.tests:
        assert not set(split.refit) & set(test.hidden)
        assert not set(split.fit) & set(test.hidden)
        assert not set(split.validation.visible) & set(test.hidden)
        assert not set(split.validation.hidden) & set(test.hidden)
    assert not set(split.fit) & set(split.validation.hidden)


@pytest.mark.parametrize("protocol", GENERAL)
@given(ratings=rating_sets(), seed=st.integers(0, 5))
def test_the_same_seed_gives_the_same_split(protocol: str, ratings: Ratings, seed: int) -> None:
    first, second = (split_ratings(ratings, protocol, seed) for _ in range(2))
    assert first.digest == second.digest
    for one, other in zip(arrays(first), arrays(second), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("protocol", ["random", "users", "users-liked"])
def test_another_seed_gives_another_split(protocol: str) -> None:
    ratings = load_ratings("synthetic:users=100,items=100,ratings=3000", SourceSettings())
    first, second = (split_ratings(ratings, protocol, seed) for seed in (1, 2))
    assert first.digest != second.digest
    assert not np.array_equal(first.tests[0].hidden, second.tests[0].hidden)


@given(ratings=rating_sets(), seed=st.integers(0, 5))
def test_random_keeps_a_tenth_for_test_and_a_twentieth_of_the_rest_for_validation(
    ratings: Ratings, seed: int
) -> None:
    split = split_ratings(ratings, "random", seed)
    test = split.tests[0]
    assert len(test.hidden) == len(ratings) // 10
    assert len(split.validation.hidden) == len(split.refit) // 20
    assert union(split.refit, test.hidden) == list(range(len(ratings)))
    assert union(split.fit, split.validation.hidden) == split.refit.tolist()
    assert np.array_equal(split.validation.visible, split.fit)
    assert np.array_equal(test.visible, split.refit)


@given(ratings=rating_sets())
def test_temporal_tells_nothing_of_the_future(ratings: Ratings) -> None:
    split = split_ratings(ratings, "temporal", 0)
    times, test = ratings.times, split.tests[0]
    assert times is not None
    assert times[split.fit].max() < times[split.validation.hidden].min()
    assert times[split.refit].max() < times[test.hidden].min()
    assert union(split.fit, split.validation.hidden, test.hidden) == list(range(len(ratings)))
    assert np.array_equal(test.visible, split.refit)
    largest_second = np.bincount(times).max() if times.max() < 1000 else len(times)
    assert abs(len(test.hidden) - len(ratings) / 10) <= largest_second


def test_temporal_by_hand() -> None:
    times = [(7 * n) % 40 for n in range(40)]  # every second 0..39 once, shuffled
    split = split_ratings(make_ratings([0] * 40, [3] * 40, times), "temporal", 0)
    assert sorted(times[row] for row in split.tests[0].hidden) == [36, 37, 38, 39]
    assert sorted(times[row] for row in split.validation.hidden) == [34, 35]


def test_temporal_keeps_a_second_together() -> None:
    times = [0] * 10 + [1] * 6 + [2] * 4  # a tenth is 2 rows; the last second has 4
    split = split_ratings(make_ratings([0] * 20, [3] * 20, times), "temporal", 0)
    assert split.tests[0].hidden.tolist() == [16, 17, 18, 19]
    assert split.validation.hidden.tolist() == [10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("protocol", HELD_OUT)
@given(ratings=rating_sets(), seed=st.integers(0, 5))
def test_held_out_users_are_fitted_on_by_nobody(protocol: str, ratings: Ratings, seed: int) -> None:
    split = split_ratings(ratings, protocol, seed)
    fitted, validation, test = (
        set(ratings.users[rows].tolist())
        for rows in (split.fit, all_rows(split.validation), all_rows(split.tests[0]))
    )
    assert not fitted & validation and not fitted & test and not validation & test
    assert np.array_equal(split.fit, split.refit)
    tenth = len(ratings.user_ids) // 10
    assert len(validation) == len(test) == tenth
    assert fitted | validation | test == set(range(len(ratings.user_ids)))
    exist = np.arange(len(ratings))
    if protocol == "users-liked":
        exist = np.flatnonzero(ratings.values >= 4)
    everything = union(split.fit, all_rows(split.validation), all_rows(split.tests[0]))
    assert everything == exist.tolist()


def all_rows(fold: Fold) -> NDArray[np.int64]:
    return np.concatenate([fold.visible, fold.hidden])


@pytest.mark.parametrize("protocol", HELD_OUT)
@given(ratings=rating_sets(), seed=st.integers(0, 5))
def test_both_test_folds_hold_the_same_users_and_nest(
    protocol: str, ratings: Ratings, seed: int
) -> None:
    split = split_ratings(ratings, protocol, seed)
    most, half = split.tests
    assert (most.name, half.name) == ("test-80", "test-50")
    assert union(most.visible, most.hidden) == union(half.visible, half.hidden)
    assert set(most.hidden) <= set(half.hidden)
    for fold, percent in ((split.validation, 20), (most, 20), (half, 50)):
        hidden = np.bincount(ratings.users[fold.hidden], minlength=len(ratings.user_ids))
        total = np.bincount(ratings.users[all_rows(fold)], minlength=len(ratings.user_ids))
        for count, of in zip(hidden, total, strict=True):
            assert count == of * percent // 100
            assert of == 0 or 0 < count < of


def test_only_users_who_like_enough_are_held_out() -> None:
    """Of 40 users, the even ones like five of eight items, the odd ones four."""
    users = [user for user in range(40) for _ in range(8)]
    values = [
        5.0 if n < (5 if user % 2 == 0 else 4) else 1.0 for user in range(40) for n in range(8)
    ]
    for protocol in HELD_OUT:
        split = split_ratings(make_ratings(users, values), protocol, 42)
        held_out = {users[row] for fold in folds(split) for row in all_rows(fold)}
        assert len(held_out) == 4
        assert all(user % 2 == 0 for user in held_out)
        fitted = {users[row] for row in split.fit}
        assert {user for user in range(40) if user % 2} < fitted


def test_what_counts_as_liked_can_be_said() -> None:
    ratings = make_ratings([n // 10 for n in range(200)], [3.0] * 200)
    with pytest.raises(ProtocolError, match="need 10 users with at least 5 ratings of 4 or more"):
        split_ratings(ratings, "users", 42)
    assert len(split_ratings(ratings, "users", 42, liked_from=3).tests[0].hidden) == 4


def test_at_most_600_users_are_held_out_for_each_part() -> None:
    users = np.repeat(np.arange(7000), 6)
    split = split_ratings(make_ratings(users.tolist(), [5.0] * len(users)), "users", 42)
    for fold in folds(split):
        assert len(np.unique(users[all_rows(fold)])) == 600
        assert len(fold.hidden) == 600 * (3 if fold.name == "test-50" else 1)


def test_the_digest_covers_every_array_and_the_name() -> None:
    """Against the definition: lengths and little-endian rows, after the protocol's name."""
    ratings = load_ratings("synthetic:users=50,items=50,ratings=1000", SourceSettings())
    for protocol in GENERAL:
        split = split_ratings(ratings, protocol, 3)
        text = protocol.encode()
        for rows in arrays(split):
            text += len(rows).to_bytes(8, "little") + b"".join(
                int(row).to_bytes(8, "little") for row in rows
            )
        assert split.digest == hashlib.sha256(text).hexdigest()
        assert (split.protocol, split.seed) == (protocol, 3)


@pytest.mark.parametrize(
    ("protocol", "ratings", "expected"),
    [
        ("halves", make_ratings([0] * 50, [3] * 50), r"no protocol 'halves'; choose one of random"),
        (
            "temporal",
            make_ratings([0] * 50, [3] * 50),
            r"needs dates and test has none; use random",
        ),
        ("temporal", make_ratings([0] * 50, [3] * 50, [7] * 50), r"all have the same time"),
        ("temporal", make_ratings([0] * 9, [3] * 9, [7] * 8 + [8]), r"all have the same time"),
        ("random", make_ratings([0] * 9, [3] * 9), r"9 ratings are too few to put 10% of them"),
        ("random", make_ratings([0] * 15, [3] * 15), r"14 ratings are too few to put 5% of them"),
        ("random-1234", make_ratings([0] * 50, [3] * 50), r"of ml-1m and test has 50; use the"),
        ("official-u1", make_ratings([0] * 50, [3] * 50), r"belongs to ml-100k"),
        ("users", make_ratings([0] * 50, [5] * 50), r"need 10 users .* and test has 1; use more"),
        ("users-liked", make_ratings([0] * 50, [5] * 50), r"need 10 users .* and test has 1"),
    ],
)
def test_a_protocol_that_does_not_fit_is_told(
    protocol: str, ratings: Ratings, expected: str
) -> None:
    with pytest.raises(ProtocolError, match=expected) as caught:
        split_ratings(ratings, protocol, 1)
    assert "\n" not in str(caught.value)


def settings_for(name: str) -> SourceSettings:
    folder = os.environ.get("USHER_DATA_DIR")
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"USHER_DATA_DIR holds no {name}")
    return SourceSettings(data_dir=Path(folder), download=False)


def test_the_published_split_of_1m_is_reproduced() -> None:
    ratings = load_ratings("ml-1m", settings_for("ml-1m"))
    numbers = np.arange(1_000_209)
    np.random.RandomState(1234).shuffle(numbers)
    for seed in (0, 1):
        split = split_ratings(ratings, "random-1234", seed)
        assert np.array_equal(split.tests[0].hidden, np.sort(numbers[:100_020]))
        assert np.array_equal(split.refit, np.sort(numbers[100_020:]))
        assert len(split.validation.hidden) == 900_189 // 20
        assert union(split.fit, split.validation.hidden) == split.refit.tolist()


@pytest.mark.parametrize("fold", ["u1", "u2"])
def test_the_official_folds_are_those_of_the_files(fold: str) -> None:
    settings = settings_for("ml-100k")
    ratings = load_ratings("ml-100k", settings)
    split = split_ratings(ratings, f"official-{fold}", 7, settings=settings)
    assert settings.data_dir is not None
    lines = (settings.data_dir / "ml-100k" / "u.data").read_text().splitlines()
    test = set((settings.data_dir / "ml-100k" / f"{fold}.test").read_text().splitlines())
    assert split.tests[0].hidden.tolist() == [n for n, line in enumerate(lines) if line in test]
    assert union(split.fit, split.validation.hidden, split.tests[0].hidden) == list(range(100_000))
    assert len(split.validation.hidden) == 4000


def test_1m_has_600_users_in_each_part() -> None:
    ratings = load_ratings("ml-1m", settings_for("ml-1m"))
    for protocol in HELD_OUT:
        split = split_ratings(ratings, protocol, 42)
        for fold in folds(split):
            assert len(np.unique(ratings.users[all_rows(fold)])) == 600


def test_every_protocol_is_tested_here() -> None:
    tested = {*GENERAL, "random-1234", "official-u1", "official-u2"}
    assert set(PROTOCOLS) == tested
