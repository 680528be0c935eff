"""Pulls the ratings people gave out of their Redis, as a file that training lays over its data.

    user,item,rating,time
    7,318,4.5,1700000000      given
    7,2571,,                  taken back: the training data's rating no longer counts
    8,,,                      forgotten: nothing the training data has of user 8 counts

It only reads, a user at a time, so people may go on rating meanwhile. Nothing in it needs a model.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import redis

from service.errors import RatingsUnavailable
from service.stores.ratings import PREFIX, Delta, delta_of

COLUMNS = ("user", "item", "rating", "time")
TIMEOUT_S = 10
SCAN_COUNT = 1000


class Pulled(NamedTuple):
    """How much a file holds."""

    users: int
    given: int
    taken_back: int


def pull_ratings(url: str, path: Path) -> Pulled:
    """Write what every user changed to `path`, whole or not at all.

    Raises RatingsUnavailable if Redis does not answer or holds what this service did not write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.half")
    users = given = taken_back = 0
    try:
        with (
            redis.Redis.from_url(url, socket_timeout=TIMEOUT_S) as client,
            half.open("w", newline="", encoding="ascii") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for user_id, delta in _deltas(client):
                rows = list(_rows(user_id, delta))
                writer.writerows(rows)
                users += 1
                given += sum(bool(row[2]) for row in rows)
                taken_back += sum(bool(row[1]) and not row[2] for row in rows)
        os.replace(half, path)
    except redis.RedisError as error:
        raise RatingsUnavailable(f"The ratings Redis does not answer: {error}.") from None
    finally:
        half.unlink(missing_ok=True)
    return Pulled(users, given, taken_back)


def _deltas(client: redis.Redis) -> Iterator[tuple[str, Delta]]:
    """Every user with a delta, once, though SCAN may name one twice."""
    seen: set[bytes] = set()
    for name in client.scan_iter(match=f"{PREFIX}*", count=SCAN_COUNT):
        if name not in seen:
            seen.add(name)
            flat = [part for pair in client.hgetall(name).items() for part in pair]
            yield name.decode("ascii").removeprefix(PREFIX), delta_of(flat)


def _rows(user_id: str, delta: Delta) -> Iterator[tuple[str, str, str, str]]:
    if delta.cleared:
        yield user_id, "", "", ""
    for item_id, given in sorted(delta.ratings.items()):
        if given is None:
            yield user_id, item_id, "", ""
        else:
            yield user_id, item_id, f"{given.rating:g}", str(given.rated_at)
