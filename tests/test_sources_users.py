"""User attributes: what each source says of its users, whom it is said of, and bad lines."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from training.errors import DataError
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings

U_USER = "1|24|M|technician|85711\n2|53|F|other|T8H1N\n33|7|F|none|00000\n"
USERS_DAT = "1::F::1::10::48067\n2::M::56::16::70072-1234\n33::M::25::0::55117\n"
FILES = {
    "ml-100k": ("u.data", "u.item", "u.user"),
    "ml-1m": ("ratings.dat", "movies.dat", "users.dat"),
}
RATED = {"ml-100k": "2\t1\t3\t1\n1\t1\t4\t1\n", "ml-1m": "2::1::3\n1::1::4\n"}
ITEMS = {"ml-100k": "1|A|01-Jan-1995||" + "|0" * 19 + "\n", "ml-1m": "1::A (1995)::Drama\n"}


def release(folder: Path, name: str, users: str | None) -> SourceSettings:
    """A release in which users 2 and 1 rate one item, and what its file says of users."""
    (folder / name).mkdir(exist_ok=True)
    texts = (RATED[name], ITEMS[name], users)
    for file, text in zip(FILES[name], texts, strict=True):
        if text is not None:
            (folder / name / file).write_bytes(text.encode())
    return SourceSettings(data_dir=folder, download=False)


def said(ratings: Ratings) -> dict[str, dict[str, str | None]]:
    """What is known of each user, in words."""
    found = ratings.user_attributes
    assert found is not None
    assert found.codes_UA.shape == (len(ratings.user_ids), len(found.names))
    return {
        user.decode(): {
            name: categories[code] if code >= 0 else None
            for name, categories, code in zip(found.names, found.categories, codes, strict=True)
        }
        for user, codes in zip(ratings.user_ids.tolist(), found.codes_UA.tolist(), strict=True)
    }


def test_100k_groups_ages_by_five_years_and_zip_codes_by_region(tmp_path: Path) -> None:
    ratings = load_ratings("ml-100k", release(tmp_path, "ml-100k", U_USER))
    assert said(ratings) == {
        "1": {"age": "20", "gender": "M", "occupation": "technician", "zip": "8"},
        "2": {"age": "50", "gender": "F", "occupation": "other", "zip": "T"},
    }
    assert ratings.user_attributes is not None
    assert ratings.user_attributes.categories[1] == ("F", "M")


def test_1m_has_age_groups_and_occupations_of_its_own(tmp_path: Path) -> None:
    assert said(load_ratings("ml-1m", release(tmp_path, "ml-1m", USERS_DAT))) == {
        "1": {"age": "1", "gender": "F", "occupation": "10", "zip": "4"},
        "2": {"age": "56", "gender": "M", "occupation": "16", "zip": "7"},
    }


def test_a_user_whom_nobody_describes_has_no_categories(tmp_path: Path) -> None:
    settings = release(tmp_path, "ml-100k", U_USER.partition("\n")[2])
    described = said(load_ratings("ml-100k", settings))
    assert set(described["1"].values()) == {None}
    assert described["2"]["gender"] == "F"


@pytest.mark.parametrize("name", FILES)
def test_a_folder_without_the_file_says_nothing_of_users(name: str, tmp_path: Path) -> None:
    ratings = load_ratings(name, release(tmp_path, name, None))
    assert ratings.user_attributes is None
    assert len(ratings) == 2


@pytest.mark.parametrize(
    ("name", "users", "expected"),
    [
        ("ml-100k", "1|24|M|x|8\n2|old|F|x|8\n", r"u.user, line 2: this is not id\|age\|gender"),
        ("ml-100k", "1|24|M|x\n", r"u.user, line 1: this is not id\|age\|gender\|occupation\|zip"),
        ("ml-100k", "1|24|M|x|8\n\n2|2|F|x|8\n", "u.user, line 2: this is not id"),
        ("ml-100k", "1|24|M|x|8\n1|25|M|x|8\n", "u.user, line 2: this user is listed already"),
        ("ml-1m", "1::F::1::10::4\n2::X::1::1::4\n", "users.dat, line 2: this is not id::gender"),
        ("ml-1m", "1::F::1::10::4\n1::F::1::1::4\n", "users.dat, line 2: this user is listed alr"),
        ("ml-1m", "", "users.dat, line 1: this is not id::gender::age::occupation::zip; unpack"),
    ],
)
def test_a_fault_is_told_with_its_line(
    name: str, users: str, expected: str, tmp_path: Path
) -> None:
    settings = release(tmp_path, name, users)
    with pytest.raises(DataError, match=expected) as caught:
        load_ratings(name, settings)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


# A file of one's own


def table(folder: Path, users: str, **settings: Any) -> Ratings:
    (folder / "r.csv").write_text("user,item,rating\nb,x,1\na,x,2\n10,y,3\n")
    (folder / "users.csv").write_text(users)
    given = {"users_file": folder / "users.csv", **settings}
    return load_ratings(str(folder / "r.csv"), SourceSettings(**given))


def test_a_users_file_may_have_any_categories(tmp_path: Path) -> None:
    text = "plan,id,age group\nfree,b, 18-25\n,a,\npaid,10,18-25\nfree,nobody,60\n"
    ratings = table(tmp_path, text)
    assert said(ratings) == {
        "10": {"plan": "paid", "age group": "18-25"},
        "a": {"plan": None, "age group": None},
        "b": {"plan": "free", "age group": "18-25"},
    }


def test_a_users_file_may_be_parquet(tmp_path: Path) -> None:
    described = tmp_path / "users.parquet"
    pl.DataFrame({"user": ["b", "a"], "level": [3, None]}).write_parquet(described)
    ratings = table(tmp_path, "", users_file=described)
    assert {user: known["level"] for user, known in said(ratings).items()} == {
        "10": None, "a": None, "b": "3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name,plan\na,x\n", "line 1: there is no column 'user' or 'id'; rename the column that"),
        ("id\na\n", "line 1: there is no column beside 'id'; add what is known of users."),
        ("id,plan\na,x\na,y\n", "line 3: the user id 'a' is empty or listed twice; correct"),
        ("id,plan\na,x\n,y\n", "line 3: the user id None is empty or listed twice; correct"),
    ],
)
def test_a_fault_in_a_users_file_is_told(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'users.csv'}, {expected}")):
        table(tmp_path, text)


def test_a_category_may_not_be_called_like_the_ids(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("who,item,rating\nb,x,1\na,x,2\n")
    path = tmp_path / "users.csv"
    path.write_text("who,user\na,x\n")
    settings = SourceSettings(users_file=path, user_column="who")
    with pytest.raises(DataError, match="line 1: the ids are in 'who', so no category may be"):
        load_ratings(str(tmp_path / "r.csv"), settings)


@pytest.mark.parametrize(("name", "users"), [("ml-100k", 943), ("ml-1m", 6040)])
def test_the_real_releases_describe_every_user(name: str, users: int) -> None:
    folder = os.environ.get("USHER_DATA_DIR")
    if not folder or not (Path(folder) / name / FILES[name][2]).is_file():
        pytest.skip(f"USHER_DATA_DIR holds no {name}")
    settings = SourceSettings(data_dir=Path(folder), download=False)
    found = load_ratings(name, settings).user_attributes
    assert found is not None
    assert found.names == ("age", "gender", "occupation", "zip")
    assert found.codes_UA.shape == (users, 4)
    assert found.codes_UA.min() == 0
    assert [len(names) for names in found.categories[1:3]] == [2, 21]
