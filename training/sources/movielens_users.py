"""What MovieLens says of its users: gender, age group, occupation and where they live.

    ml-100k   u.user      id|age|gender|occupation|zip
    ml-1m     users.dat   id::gender::age::occupation::zip, age and occupation as codes

Ages become groups of five years (1M has groups of its own) and a zip code its first character,
which is a region of the United States or Canada. Later releases say nothing of their users.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from training.errors import DataError
from training.sources.releases import Release

FORMS = {
    "u.user": (
        r"^(?<user>\d+)\|(?<age>\d+)\|(?<gender>[MF])\|(?<occupation>[^|]+)\|(?<zip>[^|]+)$",
        "id|age|gender|occupation|zip",
    ),
    "users.dat": (
        r"^(?<user>\d+)::(?<gender>[MF])::(?<age>\d+)::(?<occupation>\d+)::(?<zip>.+)$",
        "id::gender::age::occupation::zip",
    ),
}
YEARS_OF_A_GROUP = 5


def read_movielens_users(folder: Path, release: Release) -> pl.DataFrame | None:
    """Columns user, age, gender, occupation, zip (String); None if the release has no such file.

    A folder unpacked without the file counts as having none. Raises DataError for a line of
    another form and for a user listed twice.
    """
    if release.users_file is None or not (folder / release.users_file).is_file():
        return None
    path = folder / release.users_file
    pattern, form = FORMS[release.users_file]
    text = path.read_text(encoding=release.encoding)
    lines = pl.Series("line", text.rstrip("\n").split("\n"), dtype=pl.String)
    frame = lines.str.extract_groups(pattern).struct.unnest()
    _check(path, frame["user"].is_null(), f"this is not {form}")
    _check(path, ~frame["user"].is_first_distinct(), "this user is listed already")
    return frame.select("user", _age_group(release), "gender", "occupation", _region())


def _age_group(release: Release) -> pl.Expr:
    if release.users_file == "users.dat":
        return pl.col("age")
    years = pl.col("age").cast(pl.Int64)
    return (years - years % YEARS_OF_A_GROUP).cast(pl.String)


def _region() -> pl.Expr:
    return pl.col("zip").str.slice(0, 1)


def _check(path: Path, faults: pl.Series, reason: str) -> None:
    if faults.any():
        line = (faults.arg_max() or 0) + 1
        raise DataError(f"{path}, line {line}: {reason}; unpack the archive again.")
