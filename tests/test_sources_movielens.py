"""MovieLens: each release in its own format and encoding, and the real files where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from models.manifest import RatingScale
from training.errors import DataError, ProtocolError
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings, official_split
from training.sources.movielens import GENRES_100K


def flags(*genres: str) -> str:
    return "|".join("1" if name in genres else "0" for name in GENRES_100K)


U_ITEM = "\n".join(
    [
        f"1|Toy Story (1995)|01-Jan-1995||http://x|{flags('Animation', 'Comedy')}",
        f"2|Amélie en été|08-Feb-1998||http://x|{flags('Drama')}",
        f"3|unknown||||{flags('unknown')}",
        f"4|Land Before Time III (1995) (V)|01-Jan-1995||http://x|{flags('Animation')}",
        f"5|Nobody rated this (1990)|01-Jan-1990||http://x|{flags('Western')}",
    ]
)
MOVIES_DAT = (
    "1::Toy Story (1995)::Animation|Children's|Comedy\n"
    "2::Star Wars: Épisode IV - A New Hope (a.k.a. X:: Y) (1977)::Sci-Fi\n"
    "10::Seven (Se7en) (1995)::(no genres listed)\n"
)
MOVIES_CSV = (
    "movieId,title,genres\n"
    '1,"American President, The (1995)",Comedy|Drama\n'
    '2,"Say ""été"" (2006–2007)",(no genres listed)\n'
    "10,Babylon 5,Sci-Fi\n"
)
EXPECTED = {
    "ml-100k": ("u.data", "u.item", U_ITEM),
    "ml-1m": ("ratings.dat", "movies.dat", MOVIES_DAT),
    "ml-10m": ("ratings.dat", "movies.dat", MOVIES_DAT),
    **{
        name: ("ratings.csv", "movies.csv", MOVIES_CSV)
        for name in ("ml-latest-small", "ml-20m", "ml-25m", "ml-32m")
    },
}


def release(folder: Path, name: str, ratings: str) -> SourceSettings:
    """A data folder that holds one release with the given ratings and the items above."""
    ratings_file, items_file, items = EXPECTED[name]
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / ratings_file).write_bytes(ratings.encode())
    old = name in ("ml-100k", "ml-1m")
    (place / items_file).write_bytes(items.encode("iso-8859-1" if old else "utf-8"))
    return SourceSettings(data_dir=folder, download=False)


def real(name: str) -> Ratings:
    """The release itself, or a skip."""
    return load_ratings(name, real_settings(name))


def real_settings(name: str) -> SourceSettings:
    folder = os.environ.get("USHER_DATA_DIR")
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"USHER_DATA_DIR holds no {name}")
    return SourceSettings(data_dir=Path(folder), download=False)


def test_100k_is_tab_separated_with_latin_1_items(tmp_path: Path) -> None:
    rows = "9\t1\t5\t881250949\n10\t2\t3\t891717742\n9\t3\t1\t1\n9\t4\t2\t2\n"
    ratings = load_ratings("ml-100k", release(tmp_path, "ml-100k", rows))
    catalog = ratings.catalog
    assert list(catalog.ids) == ["1", "2", "3", "4"]
    assert list(catalog.titles) == ["Toy Story", "Amélie en été", "unknown", "Land Before Time III"]
    assert catalog.years.tolist() == [1995, 1998, 0, 1995]
    assert list(catalog.genre_names) == ["Animation", "Comedy", "Drama"]
    assert [catalog.genres_of(i) for i in range(4)] == [
        ["Animation", "Comedy"], ["Drama"], [], ["Animation"],
    ]  # fmt: skip
    assert ratings.user_ids.tolist() == [b"10", b"9"]
    assert ratings.users.tolist() == [1, 0, 1, 1]
    assert ratings.values.tolist() == [5, 3, 1, 2]
    assert ratings.times is not None
    assert ratings.times.tolist() == [881250949, 891717742, 1, 2]


@pytest.mark.parametrize("name", ["ml-1m", "ml-10m"])
@pytest.mark.parametrize("dated", [True, False])
def test_double_colons_with_and_without_times(name: str, dated: bool, tmp_path: Path) -> None:
    rows = ["1::10::5", "1::2::3", "2::1::4"]
    text = "\n".join(f"{row}::{n}" if dated else row for n, row in enumerate(rows)) + "\n"
    ratings = load_ratings(name, release(tmp_path, name, text))
    assert list(ratings.catalog.ids) == ["1", "2", "10"]
    assert ratings.items.tolist() == [2, 1, 0]
    assert list(ratings.catalog.titles) == [
        "Toy Story",
        "Star Wars: Épisode IV - A New Hope (a.k.a. X:: Y)",
        "Seven (Se7en)",
    ]
    assert ratings.catalog.years.tolist() == [1995, 1977, 1995]
    assert ratings.catalog.genres_of(0) == ["Animation", "Children's", "Comedy"]
    assert ratings.catalog.genres_of(2) == []
    assert (None if ratings.times is None else ratings.times.tolist()) == (
        [0, 1, 2] if dated else None
    )


@pytest.mark.parametrize("name", ["ml-latest-small", "ml-20m", "ml-25m", "ml-32m"])
def test_newer_releases_are_csv(name: str, tmp_path: Path) -> None:
    text = "userId,movieId,rating,timestamp\n7,10,0.5,100\n7,1,4.5,200\n8,2,5.0,300\n"
    ratings = load_ratings(name, release(tmp_path, name, text))
    assert list(ratings.catalog.titles) == ["American President, The", 'Say "été"', "Babylon 5"]
    assert ratings.catalog.years.tolist() == [1995, 2006, 0]
    assert ratings.values.tolist() == [0.5, 4.5, 5.0]
    assert ratings.scale == RatingScale(minimum=0.5, maximum=5.0, step=0.5)
    assert ratings.origin.source == name


@pytest.mark.parametrize("name", ["ml-1m", "ml-100k"])
def test_the_old_releases_have_whole_stars(name: str, tmp_path: Path) -> None:
    separator = "::" if name == "ml-1m" else "\t"
    settings = release(tmp_path, name, separator.join(["1", "2", "3.5", "4"]) + "\n")
    with pytest.raises(DataError, match=r"line 1: the rating 3.5 is not on the scale 1 to 5"):
        load_ratings(name, settings)


def test_half_stars_exist_from_10m_on(tmp_path: Path) -> None:
    ratings = load_ratings("ml-10m", release(tmp_path, "ml-10m", "1::1::0.5::9\n"))
    assert ratings.values.tolist() == [0.5]


def test_the_folder_may_be_called_as_in_the_archive(tmp_path: Path) -> None:
    settings = release(tmp_path, "ml-10m", "1::1::0.5::9\n")
    (tmp_path / "ml-10m").rename(tmp_path / "ml-10M100K")
    assert len(load_ratings("ml-10m", settings)) == 1


def test_the_data_folder_comes_before_the_cache(tmp_path: Path) -> None:
    release(tmp_path / "cache", "ml-1m", "1::1::1\n1::2::1\n")
    cached = SourceSettings(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    assert len(load_ratings("ml-1m", cached)) == 2
    release(tmp_path / "data", "ml-1m", "1::1::1\n")
    assert len(load_ratings("ml-1m", cached)) == 1


@pytest.mark.parametrize(
    ("name", "ratings", "expected"),
    [
        ("ml-1m", "1::2::3\n1::1::x\n", r"ratings.dat, line 2: the rating 'x' is not a number"),
        ("ml-1m", "1::2::3\n1::1\n", r"ratings.dat, line 2: the rating is empty"),
        ("ml-1m", "1::2::3\n1::2::4\n", r"ratings.dat, line 2: user 1 rates item 2 a second time"),
        (
            "ml-1m",
            "1::2::3\n1::1::4::5\n",
            r"ratings.dat, line 2: there are 4 fields separated by '::'",
        ),
        ("ml-1m", "1::2::3\n1:7:1::4\n", r"ratings.dat, line 2: the fields are not separated"),
        ("ml-1m", "", r"ratings.dat is empty"),
        ("ml-100k", "1\t2\t3\t4\n1\t3\t3\n", r"u.data, line 2: the time is empty"),
        ("ml-20m", "userId,movieId,rating\n", r"ratings.csv, line 1: there is no column 'timest"),
    ],
)
def test_a_fault_in_the_ratings_is_told_with_its_line(
    name: str, ratings: str, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=expected):
        load_ratings(name, release(tmp_path, name, ratings))


@pytest.mark.parametrize(
    ("name", "items", "expected"),
    [
        ("ml-1m", b"1::A::B\n2;C;D\n", r"movies.dat, line 2: this is not id::title::genres"),
        ("ml-100k", b"1|A|B\n", r"u.item, line 1: this is not 24 fields separated by \|"),
        ("ml-10m", b"1::A::B\n2::\xc9::D\n", r"movies.dat, line 2: the text is not UTF-8"),
        ("ml-20m", b"movieId,title\n1,A\n", r"movies.csv is not a table of movieId, title and"),
        ("ml-20m", b"", r"movies.csv is empty"),
    ],
)
def test_a_fault_in_the_items_is_told(
    name: str, items: bytes, expected: str, tmp_path: Path
) -> None:
    first = {"ml-100k": "1\t2\t3\t4\n", "ml-20m": "userId,movieId,rating,timestamp\n1,2,3,4\n"}
    settings = release(tmp_path, name, first.get(name, "1::2::3\n"))
    (tmp_path / name / EXPECTED[name][1]).write_bytes(items)
    with pytest.raises(DataError, match=expected):
        load_ratings(name, settings)


@pytest.mark.parametrize(
    ("name", "counts", "dated"),
    [
        ("ml-latest-small", (100_836, 610, 9_724), True),
        ("ml-100k", (100_000, 943, 1_682), True),
        ("ml-1m", (1_000_209, 6_040, 3_706), False),
    ],
)
def test_the_real_releases_have_their_published_counts(
    name: str, counts: tuple[int, int, int], dated: bool
) -> None:
    ratings = real(name)
    assert (len(ratings), len(ratings.user_ids), len(ratings.catalog)) == counts
    assert (ratings.times is not None) == dated
    assert len(np.unique(ratings.items)) == len(ratings.catalog)
    assert len(np.unique(ratings.users)) == len(ratings.user_ids)
    assert np.isin(ratings.values, ratings.scale.levels).all()


def test_the_real_1m_keeps_the_order_of_its_file() -> None:
    """Published splits are row numbers."""
    settings = real_settings("ml-1m")
    assert settings.data_dir is not None
    lines = (settings.data_dir / "ml-1m" / "ratings.dat").read_bytes().split()
    fields = np.array(b"::".join(lines).split(b"::"), np.bytes_).reshape(len(lines), -1)
    ratings = load_ratings("ml-1m", settings)
    assert np.array_equal(ratings.user_ids[ratings.users], fields[:, 0])
    assert np.array_equal(np.array(ratings.catalog.ids, np.bytes_)[ratings.items], fields[:, 1])
    assert np.array_equal(ratings.values, fields[:, 2].astype(np.float32))


def test_accents_of_the_real_1m_and_100k_are_read() -> None:
    titles = real("ml-1m").catalog.titles
    assert "Misérables, Les" in titles and "Life Is Beautiful (La Vita è bella)" in titles
    assert any("é" in title for title in real("ml-100k").catalog.titles)


@pytest.mark.parametrize("fold", ["u1", "u2"])
def test_the_official_folds_are_the_published_files(fold: str) -> None:
    settings = real_settings("ml-100k")
    ratings = load_ratings("ml-100k", settings)
    users = ratings.user_ids.astype(str)[ratings.users]
    assert settings.data_dir is not None
    for rows, part in zip(
        official_split(fold, ratings, settings),  # type: ignore[arg-type]
        ("base", "test"),
        strict=True,
    ):
        lines = (settings.data_dir / "ml-100k" / f"{fold}.{part}").read_text().split("\n")[:-1]
        found = {
            f"{users[row]}\t{ratings.catalog.ids[ratings.items[row]]}\t{ratings.values[row]:g}"
            for row in rows
        }
        assert found == {line.rpartition("\t")[0] for line in lines}
        assert len(rows) == len(lines) and (np.diff(rows) > 0).all()


def small_100k(folder: Path) -> SourceSettings:
    settings = release(folder, "ml-100k", "1\t1\t5\t1\n1\t2\t4\t2\n2\t1\t3\t3\n")
    (folder / "ml-100k" / "u1.base").write_text("1\t1\t5\t1\n2\t1\t3\t3\n")
    (folder / "ml-100k" / "u1.test").write_text("1\t2\t4\t2\n")
    return settings


def test_official_rows_follow_the_order_of_u_data(tmp_path: Path) -> None:
    settings = small_100k(tmp_path)
    train, test = official_split("u1", load_ratings("ml-100k", settings), settings)
    assert (train.tolist(), test.tolist()) == ([0, 2], [1])


def test_a_fold_that_does_not_fit_is_told(tmp_path: Path) -> None:
    settings = small_100k(tmp_path)
    ratings = load_ratings("ml-100k", settings)
    (tmp_path / "ml-100k" / "u1.test").write_text("1\t2\t4\t2\n2\t2\t4\t2\n")
    with pytest.raises(DataError, match=r"u1.test, line 2: u.data does not hold this rating"):
        official_split("u1", ratings, settings)
    (tmp_path / "ml-100k" / "u1.test").write_text("1\t1\t5\t1\n")
    with pytest.raises(DataError, match=r"u1.test do not make up u.data"):
        official_split("u1", ratings, settings)
    with pytest.raises(DataError, match=r"no file .*u2.base"):
        official_split("u2", ratings, settings)
    with pytest.raises(ProtocolError, match="belongs to ml-100k"):
        official_split("u1", load_ratings("synthetic", settings), settings)
