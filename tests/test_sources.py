"""The door: every name leads to the ratings it promises, in one shape."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.manifest import RatingScale
from training.errors import DataError
from training.ratings import Ratings
from training.sources import SourceSettings, available, load_ratings
from training.sources.releases import RELEASES

IDS = st.text("AZaz09._-", min_size=1, max_size=8)
TABLES = st.dictionaries(
    st.tuples(IDS, IDS),
    st.tuples(st.sampled_from([0.5, 1.0, 2.5, 4.0, 5.0]), st.integers(0, 2_000_000_000)),
    min_size=1,
    max_size=30,
)
STARS = RatingScale(minimum=0.5, maximum=5.0, step=0.5)


def write_table(path: Path, rows: list[tuple[Any, ...]], header: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerows([header.split(","), *rows])
    return path


def readable(ratings: Ratings) -> list[tuple[str, str, float]]:
    """The ratings as a person would list them, in row order."""
    users = ratings.user_ids[ratings.users].astype(str).tolist()
    items = [ratings.catalog.ids[item] for item in ratings.items]
    return list(zip(users, items, ratings.values.tolist(), strict=True))


def load(path: Path, **settings: Any) -> Ratings:
    return load_ratings(str(path), SourceSettings(**settings))


@given(table=TABLES)
def test_csv_and_parquet_give_back_what_was_written(
    table: dict[tuple[str, str], tuple[float, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    rows = [(user, item, rating, time) for (user, item), (rating, time) in table.items()]
    text = write_table(folder / "r.csv", rows, "user,item,rating,time")
    binary = folder / "r.parquet"
    pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row").write_parquet(
        binary
    )
    for path in (text, binary):
        ratings = load(path, scale=STARS, time_column="time")
        assert readable(ratings) == [row[:3] for row in rows]
        assert ratings.times is not None
        assert ratings.times.tolist() == [row[3] for row in rows]
        assert ratings.user_ids.tolist() == sorted({row[0].encode() for row in rows})
        assert sorted(ratings.catalog.ids) == sorted({row[1] for row in rows})


def test_columns_have_the_types_every_room_relies_on(tmp_path: Path) -> None:
    path = write_table(tmp_path / "r.csv", [("a", "x", 3, 7)], "user,item,rating,time")
    ratings = load(path, scale=STARS, time_column="time")
    assert ratings.times is not None
    columns = (ratings.users, ratings.items, ratings.values, ratings.times)
    assert [column.dtype for column in columns] == [np.int32, np.int32, np.float32, np.int64]
    assert all(column.flags.writeable and column.flags.c_contiguous for column in columns)
    assert ratings.user_ids.dtype.kind == "S"
    assert load(path, scale=STARS).times is None


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["10", "9", "100", "1"], ["1", "9", "10", "100"]),
        (["10", "9", "b"], ["10", "9", "b"]),
        (["7", "007", "8"], ["007", "7", "8"]),
        (["99999999999999999999999", "100000000000000000000000"],) * 2,
        (["-1", "-2", "3"], ["-1", "-2", "3"]),
    ],
)
def test_the_catalogue_is_in_numeric_order_if_all_ids_are_numbers(
    ids: list[str], expected: list[str], tmp_path: Path
) -> None:
    rows = [("u", item, 1 + n % 2) for n, item in enumerate(ids)]
    ratings = load(write_table(tmp_path / "r.csv", rows, "user,item,rating"))
    assert list(ratings.catalog.ids) == expected
    assert readable(ratings) == [(user, item, float(rating)) for user, item, rating in rows]


def test_users_are_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    rows = [(user, "i", 1 + n % 2) for n, user in enumerate(["b", "10", "9", "B", "_", "a.b"])]
    ratings = load(write_table(tmp_path / "r.csv", rows, "user,item,rating"))
    assert ratings.user_ids.tolist() == [b"10", b"9", b"B", b"_", b"a.b", b"b"]


def test_columns_are_found_by_name_among_others(tmp_path: Path) -> None:
    rows = [("é, said\nX", 4, "u1", "i1"), ("", 5, "u2", "i1")]
    path = write_table(tmp_path / "r.csv", rows, "comment,stars,who,what")
    names = {"user_column": "who", "item_column": "what", "rating_column": "stars"}
    ratings = load(path, **names)
    assert readable(ratings) == [("u1", "i1", 4.0), ("u2", "i1", 5.0)]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_data(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"\xef\xbb\xbfuser,item,rating\r\n1,2,3\r\n2,2,4\r\n")
    assert readable(load(path)) == [("1", "2", 3.0), ("2", "2", 4.0)]


def test_a_file_name_is_not_a_pattern(tmp_path: Path) -> None:
    rows = [("1", "2", 3), ("2", "2", 4)]
    path = write_table(tmp_path / "r[1]*.csv", rows, "user,item,rating")
    write_table(tmp_path / "r1.csv", [("9", "9", 9)], "user,item,rating")
    assert len(load(path)) == 2


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        ([1, 2, 5], (1, 5, 1)),
        ([0.5, 1, 5], (0.5, 5, 0.5)),
        ([-10, 0, 10], (-10, 10, 10)),
        ([1, 1.25, 3], (1, 3, 0.25)),
        ([2, 4, 4], (2, 4, 2)),
    ],
)
def test_the_scale_is_the_ends_and_the_common_step(
    ratings: list[float], expected: tuple[float, float, float], tmp_path: Path
) -> None:
    rows = [("u", f"i{n}", rating) for n, rating in enumerate(ratings)]
    scale = load(write_table(tmp_path / "r.csv", rows, "user,item,rating")).scale
    assert (scale.minimum, scale.maximum, scale.step) == expected


@pytest.mark.parametrize(
    "ratings", [[3, 3], [1, 1.0001, 1.7], [1, 1.001, 3], list(np.linspace(1, 2, 150))]
)
def test_a_scale_that_cannot_be_inferred_is_asked_for(ratings: list[float], tmp_path: Path) -> None:
    rows = [("u", f"i{n}", rating) for n, rating in enumerate(ratings)]
    path = write_table(tmp_path / "r.csv", rows, "user,item,rating")
    with pytest.raises(DataError, match=r"no rating scale can be inferred .* name it with --scale"):
        load(path)


def test_the_latest_of_a_pair_counts_if_asked(tmp_path: Path) -> None:
    rows = [("u", "i", 1, 30), ("u", "j", 2, 5), ("u", "i", 3, 20), ("v", "i", 4, 1)]
    path = write_table(tmp_path / "r.csv", rows, "user,item,rating,time")
    by_time = load(path, duplicates="last", time_column="time")
    assert readable(by_time) == [("u", "i", 1.0), ("u", "j", 2.0), ("v", "i", 4.0)]
    assert by_time.times is not None and by_time.times.tolist() == [30, 5, 1]
    by_line = load(path, duplicates="last")
    assert readable(by_line) == [("u", "j", 2.0), ("u", "i", 3.0), ("v", "i", 4.0)]


def test_an_items_file_describes_the_rated_items(tmp_path: Path) -> None:
    rows = [("u", "2", 1), ("u", "1", 2), ("u", "30", 2)]
    path = write_table(tmp_path / "r.csv", rows, "user,item,rating")
    items = [("1", "Heat (1995)", "Crime|Action"), ("2", "", ""), ("9", "Nobody's", "Western")]
    described = write_table(tmp_path / "items.csv", items, "id,title,genres")
    catalog = load(path, items_file=described).catalog
    assert (list(catalog.ids), list(catalog.titles)) == (["1", "2", "30"], ["Heat", "2", "30"])
    assert catalog.years.tolist() == [1995, 0, 0]
    assert list(catalog.genre_names) == ["Action", "Crime"]
    assert catalog.genres.tolist() == [[True, True], [False, False], [False, False]]


def test_an_items_file_may_be_parquet_and_have_years(tmp_path: Path) -> None:
    path = write_table(tmp_path / "r.csv", [("u", "2", 1), ("u", "1", 2)], "user,item,rating")
    described = tmp_path / "items.parquet"
    frame = {"item": [1, 2], "title": ["A (1990)", "B"], "year": [1991, None]}
    pl.DataFrame(frame).write_parquet(described)
    catalog = load(path, items_file=described).catalog
    assert (list(catalog.titles), catalog.years.tolist()) == (["A (1990)", "B"], [1991, 0])


def test_without_an_items_file_items_are_called_by_their_ids(tmp_path: Path) -> None:
    path = write_table(tmp_path / "r.csv", [("u", "x", 1), ("u", "y", 2)], "user,item,rating")
    catalog = load(path).catalog
    assert list(catalog.titles) == ["x", "y"]
    assert catalog.genres.shape == (2, 0)


def test_parquet_ids_may_be_numbers_and_times_dates(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [10, 9], "item": [1, 1], "rating": [1, 2], "time": [0, 86_400]})
    frame = frame.with_columns(pl.from_epoch("time"), pl.col("item").cast(pl.Int16))
    frame.write_parquet(tmp_path / "r.parquet")
    ratings = load(tmp_path / "r.parquet", time_column="time")
    assert readable(ratings) == [("10", "1", 1.0), ("9", "1", 2.0)]
    assert ratings.times is not None and ratings.times.tolist() == [0, 86_400]


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"no data called 'netflix'; name one of ml-latest-small, "):
        load_ratings("netflix", SourceSettings())
    with pytest.raises(DataError, match=r"'ML1M' \(did you mean ml-1m or ml-10m\?\); name one of "):
        load_ratings("ML1M", SourceSettings())


@pytest.mark.parametrize("name", RELEASES)
def test_a_licence_says_what_it_asks_and_where_it_is_read(name: str) -> None:
    licence = RELEASES[name].licence
    (address,) = re.findall(r"https://\S+", licence)
    suffix = {"ml-100k": "txt", "ml-1m": "txt"}.get(name, "html")
    assert address == f"https://files.grouplens.org/datasets/movielens/{name}-README.{suffix}"
    assert "no commercial use" in licence
    free = name in ("ml-latest-small", "ml-20m", "ml-25m", "ml-32m")
    assert ("redistribution on the same terms" if free else "no redistribution") in licence


def test_available_asks_the_disk_only(tmp_path: Path) -> None:
    settings = SourceSettings(cache_dir=tmp_path, base_url="http://256.256.256.256")
    assert not available("ml-1m", settings)
    assert not available(str(tmp_path / "absent.csv"), settings)
    assert available("synthetic:users=5", settings)
    (tmp_path / "ml-1m").mkdir()
    assert not available("ml-1m", settings)
    (tmp_path / "ml-1m" / "ratings.dat").write_text("1::2::3\n")
    assert available("ml-1m", settings)


def test_the_data_folder_comes_from_the_environment() -> None:
    assert SourceSettings.from_environment({"USHER_DATA_DIR": "/d"}).data_dir == Path("/d")
    assert SourceSettings.from_environment({}).data_dir is None
    assert SourceSettings.from_environment({"USHER_DATA_DIR": ""}).data_dir is None


def test_the_small_release_reads_as_a_plain_loop_reads_it() -> None:
    folder = os.environ.get("USHER_DATA_DIR")
    if not folder or not (Path(folder) / "ml-latest-small").is_dir():
        pytest.skip("USHER_DATA_DIR holds no ml-latest-small")
    ratings = load_ratings("ml-latest-small", SourceSettings(data_dir=Path(folder)))
    with (Path(folder) / "ml-latest-small" / "ratings.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert readable(ratings) == [(r["userId"], r["movieId"], float(r["rating"])) for r in rows]
    assert ratings.times is not None
    assert ratings.times.tolist() == [int(row["timestamp"]) for row in rows]
    with (Path(folder) / "ml-latest-small" / "movies.csv").open(newline="") as stream:
        movies = {row["movieId"]: row for row in csv.DictReader(stream)}
    catalog = ratings.catalog
    assert [int(i) for i in catalog.ids] == sorted({int(row["movieId"]) for row in rows})
    for index, item in enumerate(catalog.ids):
        genres = set(movies[item]["genres"].split("|")) - {"(no genres listed)"}
        assert set(catalog.genres_of(index)) == genres
        assert movies[item]["title"].startswith(catalog.titles[index])
        if catalog.years[index]:
            assert f"({catalog.years[index]}" in movies[item]["title"]
    assert (catalog.years == 0).sum() < 20
