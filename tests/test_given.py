"""Ratings people gave: pulled out of a real Redis, laid over data, against a dictionary."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.errors import RatingsUnavailable
from service.metrics import Metrics
from service.stores.pull import Pulled, pull_ratings
from service.stores.ratings import Given, RatingsStore, RepeatingPipeline
from service.stores.redis_link import RedisLink
from tests.service_fixtures import RedisServer
from training.__main__ import main
from training.errors import DataError
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings, with_given

DATA = "synthetic:users=40,items=30,ratings=500,seed=4"


def data() -> Ratings:
    return load_ratings(DATA, SourceSettings(download=False))


def triples(ratings: Ratings) -> dict[tuple[str, str], tuple[float, int]]:
    assert ratings.times is not None
    columns = (ratings.users, ratings.items, ratings.values, ratings.times)
    return {
        (ratings.user_ids[user].decode(), ratings.catalog.ids[item]): (float(value), int(time))
        for user, item, value, time in zip(*(c.tolist() for c in columns), strict=True)
    }


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["user,item,rating,time", *lines]) + "\n")
    return path


def test_what_people_gave_comes_back_to_training(tmp_path: Path, redis_server: RedisServer) -> None:
    ratings = data()
    before = triples(ratings)
    people = sorted({user for user, _ in before})
    first, second = people[:2]
    (_, old), *_ = [pair for pair in before if pair[0] == first]
    rated = {item for user, item in before if user == first}
    new = next(item for item in ratings.catalog.ids if item not in rated)

    async def give() -> None:
        redis = RepeatingPipeline(RedisLink(redis_server.url, 5.0, 2), 2)
        store = RatingsStore(redis, Metrics(CollectorRegistry()))
        await store.change(first, {old: None, new: Given(2.0, 1_700_000_000)})
        await store.replace(second, {new: Given(4.0, 1_700_000_001)})
        await store.change("a.newcomer", {new: Given(5.0, 1_700_000_002)})
        await store.change("a.newcomer", {"an-item-of-another-model": Given(5.0, 1_700_000_003)})
        await store.close()

    asyncio.run(give())
    path = tmp_path / "given.csv"
    assert pull_ratings(redis_server.url, path) == Pulled(users=3, given=4, taken_back=1)
    expected = {pair: told for pair, told in before.items() if pair[0] != second}
    del expected[first, old]
    expected |= {
        (first, new): (2.0, 1_700_000_000),
        (second, new): (4.0, 1_700_000_001),
        ("a.newcomer", new): (5.0, 1_700_000_002),
    }
    after = with_given(ratings, path)
    assert triples(after) == expected
    assert list(after.user_ids) == sorted(set(after.user_ids))
    assert set(after.users) == set(range(len(after.user_ids)))
    assert set(after.items) == set(range(len(after.catalog)))
    assert after.digest != ratings.digest


def test_items_and_users_without_ratings_go_and_keep_nothing_behind(tmp_path: Path) -> None:
    ratings = data()
    item = ratings.catalog.ids[7]
    raters = [user for user, rated in triples(ratings) if rated == item]
    gone = ratings.user_ids[0].decode()
    lines = [f"{user},{item},," for user in raters] + [f"{gone},,,"]
    after = with_given(ratings, write(tmp_path / "given.csv", *lines))
    assert item not in after.catalog.ids
    assert gone not in [user.decode() for user in after.user_ids]
    titles = dict(zip(ratings.catalog.ids, ratings.catalog.titles, strict=True))
    assert list(after.catalog.titles) == [titles[i] for i in after.catalog.ids]
    years = dict(zip(ratings.catalog.ids, ratings.catalog.years, strict=True))
    np.testing.assert_array_equal(after.catalog.years, [years[i] for i in after.catalog.ids])
    nothing = write(tmp_path / "none.csv", *(f"{user.decode()},,," for user in ratings.user_ids))
    with pytest.raises(DataError, match="every rating back"):
        with_given(ratings, nothing)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a b,1,4,5", "line 3: the user is no id"),
        ("u,,4,5", "line 3: there is a rating of no item"),
        ("u,1,4,", "line 3: the time is missing"),
        ("u,1,77,5", "line 3: the rating is not on the scale"),
        ("u,1,many,5", "cannot be read"),
        ("z,1,3,5", "line 2: the pair of user and item occurs twice"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = write(tmp_path / "given.csv", "z,1,3,5", line)
    with pytest.raises(DataError, match=said) as caught:
        with_given(data(), path)
    assert "\n" not in str(caught.value)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "given.csv"
    path.write_text("user,movie\n1,2\n")
    with pytest.raises(DataError, match="has the columns user, movie"):
        with_given(data(), path)


def test_nothing_is_written_when_redis_is_away(tmp_path: Path, redis_server: RedisServer) -> None:
    redis_server.command("HSET", "usher:ratings:u", "@version", "t", "1", "many stars")
    with pytest.raises(RatingsUnavailable):
        pull_ratings(redis_server.url, tmp_path / "given.csv")
    redis_server.stop()
    with pytest.raises(RatingsUnavailable):
        pull_ratings(redis_server.url, tmp_path / "given.csv")
    assert list(tmp_path.iterdir()) == []


def test_training_takes_them_by_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "given.csv", "newcomer,1,77,5")
    arguments = ["evaluate", "--data", DATA, "--given-ratings", str(path)]
    assert main(arguments) == 2
    assert "not on the scale" in capsys.readouterr().err
