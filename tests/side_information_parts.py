"""Ratings with side information, planted too, and the library that is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.catalog import Catalog
from tests.small_ratings import ratings_of
from training.peers.environment import ROOT, is_installed
from training.peers.exchange import Question, Task
from training.ratings import Ratings, UserAttributes

ENVIRONMENTS = ROOT / ".usher" / "peers"
DAY = 86_400

# Its library runs in an environment of its own, which `make accuracy`
# installs when it is first asked for; the tests install nothing.
needs_myfm = pytest.mark.skipif(
    not is_installed("myfm", ENVIRONMENTS),
    reason="the environment of myfm is not there: make accuracy ONLY=ml-100k:myfm",
)


def described(
    ratings: Ratings,
    *,
    camps: list[int] | None = None,
    genres: list[list[bool]] | None = None,
    years: list[int] | None = None,
    days: list[int] | None = None,
) -> Ratings:
    """The ratings with user camps A, B, … (-1: not known), genres, years and days told."""
    items = len(ratings.catalog)
    flags = np.array(genres if genres is not None else np.zeros((items, 0)), np.bool_)
    catalog = Catalog(
        ratings.catalog.ids, ratings.catalog.titles,
        np.array(years if years is not None else [0] * items, np.int16),
        [f"g{number}" for number in range(flags.shape[1])], flags,
    )  # fmt: skip
    attributes = None
    if camps is not None:
        names = tuple("ABCDEFGHIJ"[: max(camps) + 1])
        attributes = UserAttributes(("camp",), (names,), np.array(camps, np.int32)[:, None])
    times = None if days is None else np.array(days, np.int64) * DAY + 7
    return replace(ratings, catalog=catalog, user_attributes=attributes, times=times)


def planted(people: int, films: int, share: float) -> Ratings:
    """A camp likes one genre and not the other, and some days are better than others."""
    rng = np.random.default_rng(4)
    users, items = np.nonzero(rng.random((people, films)) < share)
    camps, genres = np.arange(people) % 2, np.arange(films) % 2
    days = rng.integers(0, 12, len(users))
    taste = np.where(camps[users] == genres[items], 0.9, -0.9)
    mood = np.where(days % 3 == 0, 0.8, -0.4)
    values = 3.2 + taste + mood + rng.normal(0, 0.3, len(users))
    return described(
        ratings_of(
            users, items, np.clip(np.rint(values), 1, 5), user_count=people, item_count=films
        ),
        camps=camps.tolist(),
        genres=np.stack([genres == 0, genres == 1], axis=1).tolist(),
        years=(1980 + np.arange(films) % 5).tolist(),
        days=days.tolist(),
    )


def task_of(
    ratings: Ratings, rows: NDArray[np.int64], asked: NDArray[np.int64], **how: Any
) -> Task:
    question = Question(
        np.arange(len(ratings.user_ids)), ratings.histories(rows),
        ratings.users[asked].astype(np.int64), ratings.items[asked].astype(np.int64),
    )  # fmt: skip
    return Task(
        len(ratings.user_ids), len(ratings.catalog), 1.0, 5.0, 4.0, 3,
        {"rank": 2, "draws": 20, **how}, ratings.users[rows].astype(np.int64),
        ratings.items[rows].astype(np.int64), ratings.values[rows], (question,),
    )  # fmt: skip
