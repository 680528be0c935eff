"""Splits: which ratings a model is fitted on, what it may see of a user, what it is scored on.

    random        10% of the rows are test
    random-1234   the published split of MovieLens 1M (RandomState 1234)
    official-u1   a published fold of MovieLens 100K; also official-u2
    temporal      one cut in time: the last 10% are test
    users         held-out users: part of their ratings is visible, the rest hidden
    users-liked   the same where only liked ratings exist (the published variant)

Choices are made on `validation`: 5% of the training rows, in the users protocols users of its own.
Test rows take no part in any choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import ProtocolError
from training.ratings import Ratings
from training.sources import SourceSettings, official_split

Rows = NDArray[np.int64]

TEST_PERCENT, VALIDATION_PERCENT = 10, 5
PUBLISHED_ROWS = 1_000_209  # of MovieLens 1M
FEWEST_LIKED = 5  # of a user who may be held out
MOST_HELD_OUT = 600  # users of validation, and as many of test; a tenth on smaller data


@dataclass(frozen=True)
class Fold:
    """What a model sees of each user, and what it is scored on.

    visible: int64, rows of the histories that users are encoded from. hidden: int64, rows to
    predict. Both ascending, no row in common.
    """

    name: str
    visible: Rows
    hidden: Rows


@dataclass(frozen=True)
class Split:
    """Rows for every step of an experiment, each array int64 and ascending.

    fit: fitted on while choices are made on `validation`. refit: fitted on once every choice is
    frozen. tests: scored once. digest: SHA-256 over the protocol's name and every array.
    """

    protocol: str
    seed: int
    fit: Rows
    validation: Fold
    refit: Rows
    tests: tuple[Fold, ...]
    digest: str


@dataclass(frozen=True)
class _Request:
    ratings: Ratings
    rng: np.random.Generator
    liked_from: float
    settings: SourceSettings


@dataclass(frozen=True)
class _Parts:
    fit: Rows
    validation: Fold
    refit: Rows
    tests: tuple[Fold, ...]


def split_ratings(
    ratings: Ratings,
    protocol: str,
    seed: int,
    *,
    liked_from: float = 4.0,
    settings: SourceSettings | None = None,
) -> Split:
    """Split the rows of `ratings`; the same arguments give the same split.

    `liked_from` concerns the users protocols only, `settings` (where the folds' files lie) the
    official ones only. Raises ProtocolError if there is no such protocol or the data does not suit
    it.
    """
    if protocol not in PROTOCOLS:
        raise ProtocolError(
            f"There is no protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}."
        )
    rng = np.random.default_rng(seed)
    request = _Request(ratings, rng, liked_from, settings or SourceSettings())
    parts = PROTOCOLS[protocol](request)
    arrays = [parts.fit, parts.refit]
    for fold in (parts.validation, *parts.tests):
        arrays += [fold.visible, fold.hidden]
    digest = _digest(protocol, arrays)
    return Split(protocol, seed, parts.fit, parts.validation, parts.refit, parts.tests, digest)


def _random(request: _Request) -> _Parts:
    rows = np.arange(len(request.ratings))
    return _by_rows(*_draw(rows, TEST_PERCENT, request.rng), request)


def _published(request: _Request) -> _Parts:
    """The first tenth of all row numbers, shuffled as every paper on this split shuffles them."""
    count = len(request.ratings)
    if count != PUBLISHED_ROWS:
        raise ProtocolError(
            f"random-1234 is the published split of the {PUBLISHED_ROWS} ratings of ml-1m and "
            f"{request.ratings.origin.source} has {count}; use the protocol random."
        )
    shuffled = np.random.RandomState(1234).permutation(count)
    cut = count * TEST_PERCENT // 100
    return _by_rows(np.sort(shuffled[cut:]), np.sort(shuffled[:cut]), request)


def _official(fold: Literal["u1", "u2"]) -> Callable[[_Request], _Parts]:
    return lambda request: _by_rows(
        *official_split(fold, request.ratings, request.settings), request
    )


def _by_rows(train: Rows, test: Rows, request: _Request) -> _Parts:
    fit, validation = _draw(train, VALIDATION_PERCENT, request.rng)
    return _seen_through_training(fit, validation, train, test)


def _temporal(request: _Request) -> _Parts:
    if request.ratings.times is None:
        raise ProtocolError(
            f"temporal needs dates and {request.ratings.origin.source} has none; use random."
        )
    rows = np.arange(len(request.ratings))
    train, test = _cut_in_time(rows, request.ratings.times, TEST_PERCENT)
    fit, validation = _cut_in_time(train, request.ratings.times, VALIDATION_PERCENT)
    return _seen_through_training(fit, validation, train, test)


def _seen_through_training(fit: Rows, validation: Rows, train: Rows, test: Rows) -> _Parts:
    """Every user's history is what the model was fitted on."""
    return _Parts(fit, Fold("validation", fit, validation), train, (Fold("test", train, test),))


def _draw(rows: Rows, percent: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """The rows but for `percent` of them, and those, at random."""
    count = len(rows) * percent // 100
    if not count:
        raise ProtocolError(
            f"{len(rows)} ratings are too few to put {percent}% of them aside; use more data."
        )
    shuffled = rng.permutation(rows)
    return np.sort(shuffled[count:]), np.sort(shuffled[:count])


def _cut_in_time(rows: Rows, times: NDArray[np.int64], percent: int) -> tuple[Rows, Rows]:
    """The rows before a moment and the rows from it on, these as near to `percent` as can be.

    Rows of one second stay together, so nothing of the future is known in the past.
    """
    moments, counts = np.unique(times[rows], return_counts=True)
    if len(moments) < 2:
        raise ProtocolError(
            "temporal cannot cut ratings that all have the same time; use the protocol random."
        )
    from_moment_on = np.cumsum(counts[::-1])[::-1]
    nearest = 1 + np.argmin(np.abs(from_moment_on[1:] - len(rows) * percent / 100))
    late = times[rows] >= moments[nearest]
    return rows[~late], rows[late]


def _users(request: _Request) -> _Parts:
    return _held_out(np.arange(len(request.ratings)), request)


def _users_liked(request: _Request) -> _Parts:
    return _held_out(np.flatnonzero(request.ratings.values >= request.liked_from), request)


def _held_out(rows: Rows, request: _Request) -> _Parts:
    """Fit on `rows` of all users but those drawn for validation and for test."""
    ratings = request.ratings
    validation, test = _draw_users(request)
    role = np.zeros(len(ratings.user_ids), np.int8)
    role[validation], role[test] = 1, 2
    role_of_row = role[ratings.users[rows]]
    fit = rows[role_of_row == 0]
    validation_order = _within_users(ratings, rows[role_of_row == 1], request.rng)
    test_order = _within_users(ratings, rows[role_of_row == 2], request.rng)
    tests = (test_order.fold("test-80", 20), test_order.fold("test-50", 50))
    return _Parts(fit, validation_order.fold("validation", 20), fit, tests)


def _draw_users(request: _Request) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users of validation and of test: some of those with enough liked ratings."""
    ratings = request.ratings
    liked = ratings.users[ratings.values >= request.liked_from]
    eligible = np.flatnonzero(np.bincount(liked, minlength=len(ratings.user_ids)) >= FEWEST_LIKED)
    count = min(MOST_HELD_OUT, len(eligible) // 10)
    if not count:
        raise ProtocolError(
            f"The users protocols need 10 users with at least {FEWEST_LIKED} ratings of "
            f"{request.liked_from:g} or more and {ratings.origin.source} has {len(eligible)}; "
            "use more data, another liked_from or the protocol random."
        )
    drawn = request.rng.permutation(eligible)[: 2 * count]
    return drawn[:count], drawn[count:]


@dataclass(frozen=True)
class _UserOrder:
    """Rows grouped by user in random order; ranks: 0-based within the user; counts: of the user."""

    rows: Rows
    ranks: Rows
    counts: Rows

    def fold(self, name: str, hidden_percent: int) -> Fold:
        """Hide the last `hidden_percent` of each user, at least one rating, never all.

        Folds of one order nest: what is hidden at 20% is hidden at 50% too.
        """
        hidden_counts = np.maximum(1, self.counts * hidden_percent // 100)
        hidden = self.ranks >= self.counts - hidden_counts
        return Fold(name, np.sort(self.rows[~hidden]), np.sort(self.rows[hidden]))


def _within_users(ratings: Ratings, rows: Rows, rng: np.random.Generator) -> _UserOrder:
    shuffled = rng.permutation(rows)
    grouped = shuffled[np.argsort(ratings.users[shuffled], kind="stable")]
    _, starts, sizes = np.unique(ratings.users[grouped], return_index=True, return_counts=True)
    ranks = np.arange(len(grouped)) - np.repeat(starts, sizes)
    return _UserOrder(grouped, ranks, np.repeat(sizes, sizes).astype(np.int64))


def _digest(protocol: str, arrays: list[Rows]) -> str:
    """SHA-256; each array is preceded by its length, so no row can change sides unnoticed."""
    sha256 = hashlib.sha256(protocol.encode())
    for rows in arrays:
        sha256.update(len(rows).to_bytes(8, "little"))
        sha256.update(np.ascontiguousarray(rows, dtype="<i8").data)
    return sha256.hexdigest()


PROTOCOLS: dict[str, Callable[[_Request], _Parts]] = {
    "random": _random,
    "random-1234": _published,
    "official-u1": _official("u1"),
    "official-u2": _official("u2"),
    "temporal": _temporal,
    "users": _users,
    "users-liked": _users_liked,
}
