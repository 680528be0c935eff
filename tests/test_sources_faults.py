"""Bad input: one sentence that names file, line and remedy, and never a traceback."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from models.manifest import RatingScale
from training.errors import DataError
from training.sources import SourceSettings, load_ratings

WHOLE = RatingScale(minimum=1, maximum=5, step=1)
HEADER = b"user,item,rating,time\n"
GOOD = b"1,2,3,1000\n"


def message(path: Path, **settings: Any) -> str:
    """What loading the file says."""
    given = {"scale": WHOLE, "time_column": "time", **settings}
    with pytest.raises(DataError) as caught:
        load_ratings(str(path), SourceSettings(**given))
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


FAULTS = {
    "empty file": (b"", "is empty; give a file"),
    "header only": (HEADER, "holds no ratings after line 1; give"),
    "header without line end": (HEADER.strip(), "holds no ratings after line 1; give"),
    "missing column": (b"user,item,stars,time\n" + GOOD, "line 1: there is no column 'rating' "),
    "column twice": (b"user,item,rating,time,item\n", "line 1: there is two columns 'item' "),
    "other separator": (b"user;item;rating;time\n1;2;3;4\n", "line 1: .* separate columns by comm"),
    "text for a rating": (HEADER + GOOD + b"1,3,good,1\n", "line 3: the rating 'good' is not a nu"),
    "space in a rating": (HEADER + GOOD + b"1,3,4 ,1\n", "line 3: the rating '4 ' is not a number"),
    "comma for a point": (HEADER + GOOD + b'1,3,"3,5",1\n', "line 3: the rating '3,5' is not a n"),
    "text for a time": (HEADER + GOOD + b"1,3,4,2001-01-01\n", "line 3: the time '2001-01-01' is"),
    "milliseconds": (HEADER + GOOD + b"1,3,4,978300760000\n", "line 3: the time 978300760000 is n"),
    "time before 1970": (HEADER + GOOD + b"1,3,4,-1\n", "line 3: the time -1 is not in Unix secon"),
    "above the scale": (HEADER + GOOD + b"1,3,6,1\n", "line 3: the rating 6 is not on the scale 1"),
    "below the scale": (HEADER + GOOD + b"1,3,0,1\n", "line 3: the rating 0 is not on the scale 1"),
    "between steps": (HEADER + GOOD + b"1,3,3.5,1\n", "line 3: the rating 3.5 is not on the scale"),
    "NaN": (HEADER + GOOD + b"1,3,NaN,1\n", "line 3: the rating nan is not a finite number; corre"),
    "infinite": (HEADER + GOOD + b"1,3,inf,1\n", "line 3: the rating inf is not a finite number"),
    "no rating": (HEADER + GOOD + b"1,3,,1\n", "line 3: the rating is empty; complete or remove"),
    "no user": (HEADER + GOOD + b",3,4,1\n", "line 3: the user is empty; complete or remove"),
    "no item": (HEADER + GOOD + b"1,,4,1\n", "line 3: the item is empty; complete or remove"),
    "no time": (HEADER + GOOD + b"1,3,4,\n", "line 3: the time is empty; complete or remove"),
    "blank line": (HEADER + GOOD + b"\n1,3,4,1\n", "line 3: the user is empty; complete or remov"),
    "line cut short": (HEADER + GOOD + b"1,3\n", "line 3: the rating is empty; complete or remove"),
    "line too long": (HEADER + GOOD + b"1,3,4,1,1\n", "line 3: there are 5 fields separated by ',"),
    "pair twice": (HEADER + GOOD + b"2,2,1,1\n1,2,4,1\n", "line 4: user 1 rates item 2 a second t"),
    "space in an id": (HEADER + GOOD + b"a b,3,4,1\n", "line 3: the user id 'a b' is not 1 to 128"),
    "slash in an id": (HEADER + GOOD + b"1,a/b,4,1\n", "line 3: the item id 'a/b' is not 1 to 128"),
    "accent in an id": (HEADER + GOOD + "é,3,4,1\n".encode(), "line 3: the user id 'é' is not 1 t"),
    "long id": (HEADER + GOOD + b"u" * 129 + b",3,4,1\n", r"line 3: .*\(129 characters\)"),
    "Latin-1": (HEADER + GOOD + b"1,\xe9,4,1\n", "line 3: the text is not UTF-8; save the file"),
    "Latin-1 header": (b"us\xe9r,item,rating,time\n", "line 1: the text is not UTF-8; save the fi"),
    "UTF-16": ("user,item,rating,time\n1,2,3,4\n".encode("utf-16"), "line 1: the text is not UTF-"),
    "open quote": (HEADER + GOOD + b'"1,3,4,1\n1,4,4,1\n', "quotes|the rating is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_in_a_csv_is_told_with_its_line(case: str, tmp_path: Path) -> None:
    content, expected = FAULTS[case]
    path = tmp_path / "ratings.csv"
    path.write_bytes(content)
    told = message(path)
    assert told.startswith(str(path))
    assert re.search(expected, told), told


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b'note,user,item,rating,time\n"two\nlines",1,2,3,4\n"",1,3,9,4\n')
    assert f"{path}, line 4: the rating 9 is not on" in message(path)


def test_a_line_too_long_is_found_though_no_column_at_its_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(
        b"user,item,rating,time,title\n1,2,3,4,Heat\n1,3,4,4,American President, The\n"
    )
    assert f"{path}, line 3: there are 6 fields separated by ',' where 5 belong" in message(path)


def test_a_fault_deep_in_a_large_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    lines = [f"{n % 700},{n // 700},{1 + n % 5},{n}" for n in range(200_000)]
    lines[150_000] = "5,6,3.x,1"
    path.write_text("user,item,rating,time\n" + "\n".join(lines) + "\n")
    assert f"{path}, line 150002: the rating '3.x'" in message(path)
    lines[150_000] = lines[120_000]
    path.write_text("user,item,rating,time\n" + "\n".join(lines) + "\n")
    told = message(path)
    assert f"{path}, line 150002: user {120_000 % 700} rates item {120_000 // 700} a second" in told
    assert "the first is line 120002" in told


def test_what_is_not_a_file_is_told(tmp_path: Path) -> None:
    assert message(tmp_path / "absent.csv") == (
        f"There is no file {tmp_path}/absent.csv; check the path."
    )
    assert message(tmp_path) == (
        f"{tmp_path} is a folder; name the .csv or .parquet file inside it."
    )
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in message(tmp_path / "folder.csv")
    (tmp_path / "ratings.txt").write_bytes(HEADER + GOOD)
    assert "is neither .csv nor .parquet; convert" in message(tmp_path / "ratings.txt")


def test_one_column_cannot_be_two(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(HEADER + GOOD)
    assert "one column cannot be two" in message(path, item_column="user")


PARQUET_FAULTS: dict[str, tuple[dict[str, list[Any]], str]] = {
    "missing column": ({"user": [1], "item": [1]}, "there is no column 'rating'"),
    "text ratings": (
        {"user": [1], "item": [1], "rating": ["4"]},
        "row 1: the column 'rating' holds String where numbers belong",
    ),
    "fractional ids": (
        {"user": [1.5], "item": [1], "rating": [4]},
        "row 1: the column 'user' holds Float64 where text or whole numbers belong",
    ),
    "null": ({"user": [1, None], "item": [1, 2], "rating": [4, 4]}, "row 2: the user is empty"),
    "NaN": (
        {"user": [1, 2], "item": [1, 2], "rating": [4.0, float("nan")]},
        "row 2: the rating nan is not a finite number",
    ),
    "pair twice": (
        {"user": [1, 1], "item": [2, 2], "rating": [4, 5]},
        "row 2: user 1 rates item 2 a second time (the first is row 1)",
    ),
    "negative id": ({"user": [1], "item": ["a b"], "rating": [4]}, "row 1: the item id 'a b'"),
    "no rows": (
        {"user": [], "item": [], "rating": []},
        "where text or whole numbers belong",
    ),
}


@pytest.mark.parametrize("case", PARQUET_FAULTS)
def test_a_fault_in_parquet_is_told_with_its_row(case: str, tmp_path: Path) -> None:
    columns, expected = PARQUET_FAULTS[case]
    path = tmp_path / "r.parquet"
    pl.DataFrame(columns).write_parquet(path)
    assert expected in message(path, time_column=None)


def test_parquet_without_rows_or_cut_short_is_told(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    schema = {"user": pl.Int64, "item": pl.Int64, "rating": pl.Float32}
    pl.DataFrame(schema=schema).write_parquet(path)
    assert "holds no ratings; give" in message(path, time_column=None)
    path.write_bytes(path.read_bytes()[:-20])
    assert "is truncated or not a Parquet file" in message(path, time_column=None)
    path.write_bytes(HEADER + GOOD)
    assert "is truncated or not a Parquet file" in message(path, time_column=None)


ITEM_FAULTS = {
    "no id": (b"name,title\n1,A\n", "line 1: there is no column 'item' or 'id'; rename"),
    "id twice": (
        b"id,title\n1,A\n1,B\n",
        "line 3: the item id '1' is empty or listed twice; corre",
    ),
    "no id given": (b"id,title\n1,A\n,B\n", "line 3: the item id None is empty or listed twice"),
    "year": (b"id,year\n1,1990\n2,'95\n", 'line 3: the year "\'95" is not a whole number; correct'),
    "encoding": (b"id,title\n1,A\n2,\xe9\n", "line 3: the text is not UTF-8; save the file"),
}


@pytest.mark.parametrize("case", ITEM_FAULTS)
def test_a_fault_in_an_items_file_is_told(case: str, tmp_path: Path) -> None:
    content, expected = ITEM_FAULTS[case]
    (tmp_path / "r.csv").write_bytes(HEADER + GOOD)
    path = tmp_path / "items.csv"
    path.write_bytes(content)
    assert f"{path}, {expected}" in message(tmp_path / "r.csv", items_file=path)
