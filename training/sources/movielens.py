"""MovieLens: each release's own files, as columns.

    ml-100k             u.data tab-separated; u.item with `|`, ISO-8859-1, flags for 19 genres
    ml-1m, ml-10m       `::` between fields; 1M in ISO-8859-1, 10M in UTF-8; times may be absent
    all others          CSV with headers, UTF-8; nothing is said of users

Rows keep the order of the release's file: published splits are row numbers.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from training.errors import DataError
from training.ratings import Origin, Ratings
from training.sources.assembly import assemble
from training.sources.delimited import RatingTable, read_delimited, require_file
from training.sources.faults import first_undecodable_line
from training.sources.items import ItemAttributes, with_years
from training.sources.layout import Layout
from training.sources.location import release_folder
from training.sources.movielens_users import read_movielens_users
from training.sources.releases import Release
from training.sources.settings import SourceSettings

TAB = Layout(time="time", separator="\t", quote=None, names=("user", "item", "rating", "time"))
CSV = Layout(user="userId", item="movieId", time="timestamp")
# fmt: off
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)
# fmt: on
DOUBLE_COLON = r"^(\d+)::(.*)::(.*)$"


def load_movielens(release: Release, settings: SourceSettings) -> Ratings:
    """The release's ratings and rated items. Raises DataError or DataUnavailable."""
    folder = release_folder(release, settings)
    table = read_movielens_ratings(folder / release.ratings_file, release)
    attributes = read_movielens_items(folder / release.items_file, release)
    origin = Origin(release.name, release.licence)
    users = read_movielens_users(folder, release)
    return assemble(table, attributes, release.scale, "error", origin, users)


def read_movielens_ratings(path: Path, release: Release) -> RatingTable:
    """The rating columns of one file in the release's format."""
    require_file(path)
    layouts = {"tab": lambda: TAB, "colons": lambda: _colons_layout(path), "csv": lambda: CSV}
    return read_delimited(path, layouts[release.format]())


def read_movielens_items(path: Path, release: Release) -> ItemAttributes:
    """Titles, years and genres of one file in the release's format. Raises DataError."""
    require_file(path)
    if release.encoding == "utf-8" and (line := first_undecodable_line(path)):
        raise DataError(
            f"{path}, line {line}: the text is not UTF-8, as it is in {release.name}; unpack the "
            "archive again."
        )
    readers = {"tab": _bar_items, "colons": _colons_items, "csv": _csv_items}
    return ItemAttributes(readers[release.format](path, release.encoding))


def _colons_layout(path: Path) -> Layout:
    """With or without times, as line 1 has it."""
    with path.open("rb") as stream:
        fields = stream.readline().count(b"::") + 1
    names = ("user", "_1", "item", "_2", "rating", "_3", "time")[: 2 * max(fields, 3) - 1]
    time = "time" if "time" in names else None
    return Layout(time=time, separator=":", quote=None, names=names, doubled=True)


def _lines(path: Path, encoding: str) -> pl.Series:
    text = path.read_text(encoding=encoding)  # which turns \r\n into \n
    return pl.Series("line", text.rstrip("\n").split("\n"), dtype=pl.String)


def _colons_items(path: Path, encoding: str) -> pl.DataFrame:
    fields = _lines(path, encoding).str.extract_groups(DOUBLE_COLON)
    frame = fields.struct.rename_fields(["item", "title", "genres"]).struct.unnest()
    _check_split(path, frame["item"], "id::title::genres")
    return with_years(frame)


def _bar_items(path: Path, encoding: str) -> pl.DataFrame:
    fields = _lines(path, encoding).str.split("|")
    _check_split(path, fields.list.get(23, null_on_oob=True), "24 fields separated by |")
    frame = pl.DataFrame({"item": fields.list.get(0), "title": fields.list.get(1)})
    flags = [
        pl.when(fields.list.get(5 + n) == "1").then(pl.lit(name))
        for n, name in enumerate(GENRES_100K)
    ]
    released = fields.list.get(2).str.extract(r"(\d{4})$").cast(pl.Int16)
    return with_years(frame).with_columns(
        year=pl.coalesce("year", released),
        genres=pl.concat_str(flags, separator="|", ignore_nulls=True),
    )


def _csv_items(path: Path, encoding: str) -> pl.DataFrame:
    try:
        frame = pl.read_csv(path, infer_schema=False, encoding=encoding, glob=False)
        return with_years(frame.select(pl.col("movieId").alias("item"), "title", "genres"))
    except pl.exceptions.PolarsError as error:
        detail = str(error).partition("\n")[0]
        raise DataError(
            f"{path} is not a table of movieId, title and genres ({detail}); unpack the archive "
            "again."
        ) from None


def _check_split(path: Path, field: pl.Series, form: str) -> None:
    if field.null_count():
        line = (field.is_null().arg_max() or 0) + 1
        raise DataError(f"{path}, line {line}: this is not {form}; unpack the archive again.")
