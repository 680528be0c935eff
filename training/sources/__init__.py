"""Where ratings come from: one door, `load_ratings`, for every named source and every file.

    location      data folder -> cache -> download, for MovieLens by name
    movielens     each release's own files          tables        any CSV or Parquet
    synthetic     MovieLens-shaped ratings of any size
    settings      what can be said of a source       options       the same on the command line
    delimited     text -> typed columns             faults        which line of a text is wrong
    given         ratings people gave a service, laid over any of these
    assembly      columns -> Ratings, or a sentence that names the row at fault

No rating becomes a Python object on the way; ids become one once per user or item.
"""

from __future__ import annotations

from pathlib import Path

from training.errors import DataError
from training.ratings import Ratings
from training.sources.given import with_given
from training.sources.location import on_disk
from training.sources.movielens import load_movielens
from training.sources.official import official_split
from training.sources.releases import RELEASES
from training.sources.settings import SourceSettings
from training.sources.synthetic import load_synthetic
from training.sources.tables import load_table
from training.suggestions import meant

__all__ = ["SourceSettings", "available", "is_file", "load_ratings", "official_split", "with_given"]

TABLE_SUFFIXES = (".csv", ".parquet")


def load_ratings(name: str, settings: SourceSettings) -> Ratings:
    """Read or generate the ratings called `name`.

    `name` is a MovieLens release (ml-1m), `synthetic[:users=..,items=..,ratings=..,seed=..]`, or
    the path of a .csv or .parquet file. Raises DataError, in one sentence with file, line and
    remedy; DataUnavailable if a release is not on disk and cannot be downloaded.
    """
    if name in RELEASES:
        return load_movielens(RELEASES[name], settings)
    if is_synthetic(name):
        return load_synthetic(name)
    path = Path(name).expanduser()
    if path.suffix.lower() in TABLE_SUFFIXES or path.exists():
        return load_table(path, settings)
    near = meant(name, [*RELEASES, "synthetic"])
    raise DataError(
        f"There is no data called {name!r}{near}; name one of {', '.join(RELEASES)}, synthetic, "
        "or the path of a .csv or .parquet file."
    )


def available(name: str, settings: SourceSettings) -> bool:
    """Whether `load_ratings` would find the data without the network."""
    if name in RELEASES:
        return on_disk(RELEASES[name], settings)
    return is_synthetic(name) or Path(name).expanduser().is_file()


def is_file(name: str) -> bool:
    """Whether a data name means a file, there or not."""
    return name not in RELEASES and not is_synthetic(name)


def is_synthetic(name: str) -> bool:
    """Whether a data name asks for generated ratings."""
    return name.partition(":")[0] == "synthetic"
