"""Shares: every rating is somebody's, they are as large, and all take as many steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from tests.small_ratings import random_ratings
from tests.test_world import configured, rows_of, shares_of
from training.errors import ConfigurationError
from training.fitting.batches import DenoisingBatches, FoldBatches
from training.fitting.initial import build_network
from training.fitting.processes import NO_FOLD
from training.fitting.share_files import read_share, write_shares
from training.fitting.shares import Share, dealt
from training.ratings import Ratings
from training.split import Rows
from training.world import Alone


def test_every_rating_is_in_one_share_and_teachers_say_of_it_what_they_said() -> None:
    whole, shares = shares_of("taught all")
    assert whole.tutor is not None
    assert whole.tutor.ratings is not None
    seen: list[tuple[bytes, int, float, str]] = []
    for share in shares:
        ratings = share.ratings
        for kind, rows in (
            ("fitted", share.rows), ("visible", share.fold.visible), ("hidden", share.fold.hidden)
        ):  # fmt: skip
            seen += keyed(ratings, rows, kind)
        assert share.tutor is not None
        assert share.tutor.ratings is not None
        users = np.arange(len(ratings.user_ids))
        number = np.searchsorted(whole.ratings.user_ids, ratings.user_ids)
        np.testing.assert_array_equal(
            share.tutor.ratings.teacher.rate_all(users),
            whole.tutor.ratings.teacher.rate_all(number),
        )
    fold = whole.fold
    kinds = (("fitted", whole.rows), ("visible", fold.visible), ("hidden", fold.hidden))
    assert sorted(seen) == sorted(
        key for kind, rows in kinds for key in keyed(whole.ratings, rows, kind)
    )


def keyed(ratings: Ratings, rows: Rows, kind: str) -> list[tuple[bytes, int, float, str]]:
    columns = (ratings.user_ids[ratings.users[rows]], ratings.items[rows], ratings.values[rows])
    return [(*row, kind) for row in zip(*(column.tolist() for column in columns), strict=True)]


def test_shares_are_as_large_and_depend_on_the_seed_alone() -> None:
    ratings = random_ratings(users=203, items=60, share=0.3, seed=0)
    rows = rows_of(ratings)
    for size in (2, 3, 7):
        owner_U = dealt(ratings, rows, NO_FOLD, size, seed=5)
        users = np.bincount(owner_U, minlength=size)
        counts = np.bincount(owner_U[ratings.users], minlength=size)
        assert users.max() - users.min() <= 1
        assert counts.max() < 1.1 * counts.min()
        np.testing.assert_array_equal(owner_U, dealt(ratings, rows, NO_FOLD, size, seed=5))
        assert (owner_U != dealt(ratings, rows, NO_FOLD, size, seed=6)).any()
    with pytest.raises(ConfigurationError, match=r"202 users .* too few for 500 processes"):
        dealt(ratings, rows, NO_FOLD, 500, seed=5)


def test_a_share_is_read_as_it_was_written(tmp_path: Path) -> None:
    taught = ("taught all", "taught pairs", "taught all unrated", "taught the unrated pairs")
    for variant in ("plain", "shallow, spectral", *taught):
        _, shares = shares_of(variant)
        folder = tmp_path / variant
        folder.mkdir()
        write_shares(shares, folder)
        for number, share in enumerate(shares):
            read = read_share(folder, number)
            assert read.ratings.digest == share.ratings.digest
            assert read.ratings.scale == share.ratings.scale
            for mine, wanted in ((read.rows, share.rows), (read.fold.hidden, share.fold.hidden)):
                np.testing.assert_array_equal(mine, wanted)
            batches = [lessons_of(each, variant) for each in (read, share)]
            for mine, wanted in zip(*batches, strict=True):
                np.testing.assert_array_equal(mine, wanted)


def lessons_of(share: Share, variant: str) -> list[Tensor]:
    """What a share's users are taught, and what its network starts from."""
    configuration, rows = configured(variant), share.rows
    network = build_network(share.ratings, rows, configuration, ahead=share.ahead)
    (batch,) = DenoisingBatches(
        share.ratings.histories(rows), 99, (0.2, 0.6), 4.0, 0, share.tutor
    )  # fmt: skip
    lessons = batch.lessons
    told = [] if lessons is None else [lessons.ratings_S, lessons.preference_BI]
    if lessons is not None and lessons.everywhere is not None:
        told += [lessons.everywhere.ratings_BI, lessons.everywhere.weight_I]
        told += lessons.everywhere.untaught or ()
    return [tensor for tensor in (*told, *network.state_dict().values()) if tensor is not None]


@dataclass(frozen=True)
class Described(Alone):
    """Enough of a world to cut batches: how many users all processes have."""

    users: int = 0

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.array([self.users])


@pytest.mark.parametrize("users", [29, 30, 31, 100])
@pytest.mark.parametrize("batch_users", [3, 7, 64])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_take_equal_steps_and_batches_stay_as_large(
    users: int, batch_users: int, size: int
) -> None:
    ratings = random_ratings(users=users + 1, items=20, share=0.5, seed=0)
    owner_U = dealt(ratings, rows_of(ratings), NO_FOLD, size, seed=0)
    taken = []
    for rank in range(size):
        own = ratings.histories(np.flatnonzero(owner_U[ratings.users] == rank))
        world = Described(rank, size, users=users)
        batches = list(DenoisingBatches(own, batch_users, (0.2, 0.6), 4.0, 0, world=world))
        taken.append([batch.users for batch in batches])
    steps = -(-users // batch_users)
    assert [len(each) for each in taken] == [steps] * size
    together = np.sum(taken, axis=0)
    assert together.sum() == users
    assert np.abs(together[:-1] - batch_users).max(initial=0) <= size - 1
    assert together.min() >= 1


def test_somebody_without_a_fold_has_one_empty_batch() -> None:
    ratings = random_ratings(users=9, items=20, share=0.5, seed=0)
    (batch,) = FoldBatches(ratings, NO_FOLD, 4, 4.0)
    assert (batch.users, len(batch.items_N), len(batch.hidden.items_T)) == (0, 0, 0)
