"""Where histories come from: the bundle's, and those a request brings along."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from models.bundle import Bundle, UserHistories
from models.histories import Histories
from service.errors import InvalidRequest, UnknownItem
from service.histories import BundleHistories, Stamp, history_of_ratings
from service.schemas import GivenRating


def test_a_known_user_has_the_bundles_history_at_version_0(bundle: Bundle) -> None:
    source = BundleHistories(bundle.users)
    for row in (0, 31, len(bundle.users) - 1):
        user_id = bundle.users.ids[row].decode()
        stamp, history = asyncio.run(source.read(user_id))
        assert stamp == asyncio.run(source.stamp(user_id)) == Stamp(user_id, "0")
        items, ratings = bundle.users.histories.of(row)
        np.testing.assert_array_equal(history.items, items)
        np.testing.assert_array_equal(history.ratings, ratings)


def test_unknown_users_and_empty_histories_are_one_owner(bundle: Bundle) -> None:
    histories = bundle.users.histories
    emptied = replace(
        bundle.users,
        histories=Histories(
            histories.items, histories.ratings, np.zeros(len(histories) + 1, np.int64)
        ),
    )
    known = bundle.users.ids[0].decode()
    for users, user_id in (
        (bundle.users, "nobody"),
        (bundle.users, "x" * 128),
        (bundle.users, known + "0" * 20),
        (emptied, known),
    ):
        source = BundleHistories(users)
        stamp, history = asyncio.run(source.read(user_id))
        assert stamp == asyncio.run(source.stamp(user_id)) == Stamp(None, "0")
        assert (len(history), len(history.items)) == (1, 0)


def test_a_bundle_without_users_knows_nobody() -> None:
    nobody = UserHistories(np.zeros(0, "S1"), Histories.empty(0))
    assert asyncio.run(BundleHistories(nobody).stamp("1")) == Stamp(None, "0")


def test_given_ratings_become_the_very_history_that_is_stored(bundle: Bundle) -> None:
    items, ratings = bundle.users.histories.of(12)
    given = [
        GivenRating(item_id=bundle.catalog.ids[item], rating=float(rating))
        for item, rating in zip(items, ratings, strict=True)
    ]
    shuffled = [given[n] for n in np.random.default_rng(0).permutation(len(given))]
    history = history_of_ratings(shuffled, bundle.catalog, bundle.manifest.rating_scale)
    np.testing.assert_array_equal(history.items, items)
    np.testing.assert_array_equal(history.ratings, ratings)
    assert history.offsets.tolist() == [0, len(items)]


def test_what_is_wrong_with_given_ratings_is_named(bundle: Bundle) -> None:
    scale, catalog = bundle.manifest.rating_scale, bundle.catalog
    unknown = [GivenRating(item_id=f"none-{n:02}", rating=4) for n in range(15)]
    with pytest.raises(UnknownItem) as refusal:
        history_of_ratings(unknown, catalog, scale)
    assert "none-00, none-01" in refusal.value.detail
    assert refusal.value.detail.endswith("and 5 more.")
    assert len(refusal.value.faults) == 10
    with pytest.raises(InvalidRequest, match=r"that of item .* is 7\."):
        history_of_ratings([GivenRating(item_id=catalog.ids[0], rating=7)], catalog, scale)
    twice = [GivenRating(item_id=catalog.ids[0], rating=3)] * 2
    with pytest.raises(InvalidRequest, match="rated twice"):
        history_of_ratings(twice, catalog, scale)
