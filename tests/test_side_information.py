"""Side information: which groups there are, how they travel, and that Bayesian SVD++ uses them.

Oracles: plain loops for the features; the factorisation machine's formula on one dense matrix, and
the normal distribution function, for what the library makes of them.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from tests.side_information_parts import (
    DAY,
    ENVIRONMENTS,
    described,
    needs_myfm,
    planted,
    task_of,
)
from tests.small_ratings import halves, ratings_of
from training.evaluation.evaluate import evaluate
from training.peers.asking import Fit, Peer, ask
from training.peers.environment import ROOT, peer_python
from training.peers.exchange import write_task
from training.peers.fm_features import group_widths, side_features, side_table
from training.peers.side_exchange import Group, SideInformation, read_side, write_side
from training.peers.side_information import Kind, side_information
from training.ratings import Ratings
from training.split import Fold

MYFM = Peer("myfm", knows_histories=False)
SIDE = Peer("myfm_side", knows_histories=False, environment="myfm")
EVERYTHING: tuple[Kind, ...] = ("users", "items", "dates")


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    """Four users, three items, seven ratings over four days."""
    return described(
        ratings_of(
            [0, 0, 1, 2, 2, 3, 3], [0, 1, 1, 0, 2, 1, 2], [5, 3, 4, 1, 2, 3, 5],
            user_count=4, item_count=3,
        ),
        camps=[1, -1, 0, 1],
        genres=[[True, True], [False, False], [False, True]],
        years=[1995, 0, 1980],
        days=[3, 3, 9, 4, 4, 9, 5],
    )  # fmt: skip


FIT, ASKED = np.array([0, 1, 3, 4, 5]), np.array([2, 6])


def dense(group: Group) -> list[list[int]]:
    matrix = np.zeros((group.height, group.width), int)
    for row, column in zip(group.rows, group.columns, strict=True):
        matrix[row, column] += 1
    return matrix.tolist()


# Which groups there are


def test_groups_say_what_the_source_says(ratings: Ratings) -> None:
    side = side_information(ratings, FIT, [ASKED], EVERYTHING)
    assert [dense(group) for group in side.users] == [[[0, 1], [0, 0], [1, 0], [0, 1]]]
    genres, years = side.items
    assert dense(genres) == [[1, 1], [0, 0], [0, 1]]
    assert dense(years) == [[0, 1], [0, 0], [1, 0]]  # 1980, 1995; 0 is no year
    assert [dense(group) for group in side.rows] == [
        [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]  # days 3, 4, 9
    ]


def test_a_day_that_no_fitted_row_knows_is_no_day(ratings: Ratings) -> None:
    (asked,) = side_information(ratings, FIT, [ASKED], ["dates"]).pairs
    assert [dense(group) for group in asked] == [[[0, 0, 1], [0, 0, 0]]]


def test_only_what_is_named_is_told(ratings: Ratings) -> None:
    side = side_information(ratings, FIT, [ASKED], ["items"])
    assert (side.users, side.rows, side.pairs) == ((), (), ((),))
    assert len(side.items) == 2


def test_what_the_source_does_not_say_is_left_out(ratings: Ratings) -> None:
    bare = described(ratings)
    side = side_information(bare, FIT, [ASKED, FIT], ["users", "items"])
    assert side == SideInformation((), (), (), ((), ()))
    with pytest.raises(ValueError, match="has no dates"):
        side_information(bare, FIT, [ASKED], ["dates"])


def test_side_information_arrives_as_it_was_sent(ratings: Ratings, tmp_path: Path) -> None:
    sent = side_information(ratings, FIT, [ASKED, FIT, np.zeros(0, np.int64)], EVERYTHING)
    write_side(tmp_path, sent)
    received = read_side(tmp_path)
    assert [len(groups) for groups in received.places] == [1, 2, 1, 1, 1, 1]
    for ours, theirs in zip(sent.places, received.places, strict=True):
        assert [dense(group) for group in ours] == [dense(group) for group in theirs]
        assert [group.rows.dtype for group in theirs] == [np.int64] * len(theirs)


# What a factorisation machine sees


def features_by_hand(
    ratings: Ratings, rows: NDArray[np.int64], row: int, known_days: list[int]
) -> list[float]:
    """All features of one rating, one after the other: day, user's, item's."""
    assert ratings.user_attributes is not None and ratings.times is not None
    user, item, users = ratings.users[row], ratings.items[row], len(ratings.user_ids)
    by_user = {(ratings.users[r], ratings.items[r]) for r in rows}
    rated = [float((user, other) in by_user) for other in range(len(ratings.catalog))]
    raters = [float((other, item) in by_user) for other in range(users)]
    camp = ratings.user_attributes.codes_UA[user, 0]
    genres = ratings.catalog.genres[item].astype(float)
    years = sorted({year for year in ratings.catalog.years.tolist() if year})

    def one(of: int, value: int) -> list[float]:
        return [float(value == other) for other in range(of)]

    def unit(values: Any) -> list[float]:
        return [value / max(np.sqrt(sum(values)), 1e-9) for value in values]

    return [
        *(float(ratings.times[row] // DAY == day) for day in known_days),
        *one(users, user), *unit(rated), *one(len(ratings.user_attributes.categories[0]), camp),
        *one(len(rated), item), *unit(raters), *unit(genres),
        *(float(ratings.catalog.years[item] == year) for year in years),
    ]  # fmt: skip


def test_features_are_those_made_by_hand(ratings: Ratings) -> None:
    side = side_information(ratings, FIT, [ASKED], EVERYTHING)
    task = task_of(ratings, FIT, ASKED)
    users, items = (matrix.toarray() for matrix in side_features(task, side))
    for rows, groups in ((FIT, side.rows), (ASKED, side.pairs[0])):
        table = side_table(groups).toarray()
        made = [
            [*table[n], *users[ratings.users[row]], *items[ratings.items[row]]]
            for n, row in enumerate(rows)
        ]
        by_hand = [features_by_hand(ratings, FIT, row, [3, 4, 9]) for row in rows]
        np.testing.assert_allclose(made, by_hand, atol=1e-12)
    assert group_widths(task, side) == [3, 4, 3, 2, 3, 4, 2, 2]
    assert side_table(()) is None


FITTED = """
import sys
from pathlib import Path
import numpy as np
from training.peers import myfm_side
from training.peers.exchange import read_task
from training.peers.side_exchange import read_side

folder = Path(sys.argv[1])
task, side = read_task(folder), read_side(folder)
model = myfm_side.fitted(task, side)
draws = model.predictor_.samples
np.savez(
    folder / "draws.npz", rated=myfm_side.ratings(model, task, side, 0),
    w0=[draw.w0 for draw in draws], w=[draw.w for draw in draws], V=[draw.V for draw in draws],
    cuts=[draw.cutpoints[0] if len(draw.cutpoints) else [] for draw in draws],
)
"""


def machine(draws: Any, number: int, x: NDArray[np.float64]) -> float:
    """w0 + <w, x> + sum over pairs i < j of <v_i, v_j> x_i x_j (Rendle 2010, equation 1)."""
    factors = draws["V"][number] * x[:, None]
    pairs = factors @ factors.T
    linear = draws["w0"][number] + draws["w"][number] @ x
    return float(linear + np.triu(pairs, k=1).sum())


@needs_myfm
@pytest.mark.parametrize("likelihood", ["gaussian", "ordinal"])
def test_ratings_are_the_mean_over_the_draws_of_the_expectation(
    likelihood: str, tmp_path: Path
) -> None:
    ratings = planted(people=12, films=8, share=0.7)
    ratings = replace(ratings, values=np.where(ratings.values == 2, 1, ratings.values))
    levels = np.unique(ratings.values)
    assert levels.tolist() == [1, 3, 4, 5]  # nobody gave a two
    rows, asked = halves(len(ratings), seed=0)
    side = side_information(ratings, rows, [asked], EVERYTHING)
    write_task(tmp_path, task_of(ratings, rows, asked, likelihood=likelihood))
    write_side(tmp_path, side)
    python = peer_python("myfm", ENVIRONMENTS)
    subprocess.run([python, "-c", FITTED, tmp_path], cwd=ROOT, check=True, capture_output=True)
    assert ratings.times is not None
    days = sorted(set((ratings.times[rows] // DAY).tolist()))
    with np.load(tmp_path / "draws.npz") as draws:
        assert len(draws["w0"]) == 18  # 20 but for the burn-in
        for place, row in enumerate(asked[:10]):
            x = np.array(features_by_hand(ratings, rows, row, days))
            scores = np.array([machine(draws, number, x) for number in range(18)])
            expected = scores
            if likelihood == "ordinal":
                below = norm.cdf(draws["cuts"] - scores[:, None])
                shares = np.diff(np.hstack([np.zeros((18, 1)), below, np.ones((18, 1))]))
                expected = shares @ levels
            assert draws["rated"][place] == pytest.approx(expected.mean(), abs=1e-4)


# Planted worlds in which it must help


@needs_myfm
@pytest.mark.parametrize("likelihood", ["gaussian", "ordinal"])
def test_side_information_helps_where_ratings_are_few(likelihood: str) -> None:
    ratings = planted(people=150, films=60, share=0.08)
    fold = Fold("test", *halves(len(ratings), seed=1))

    def rmse(peer: Peer, *side: Kind) -> float:
        settings = {"rank": 3, "draws": 60, "likelihood": likelihood}
        fit = Fit(ratings, fold.visible, settings, 1, 4.0, side)
        (answered,) = ask(peer, fit, [fold], ENVIRONMENTS).predictors
        found = evaluate(answered, ratings, fold, liked_from=4.0, seed=0, ranking=False).rmse
        assert found is not None
        return found

    without = rmse(MYFM)
    told = rmse(SIDE, "users", "items")
    dated = rmse(SIDE, "users", "items", "dates")
    assert told < without - 0.1
    assert dated < told - 0.1
