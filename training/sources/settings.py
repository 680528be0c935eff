"""What a person can say about a source: where data lies and what its columns are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.manifest import RatingScale

MOVIELENS_URL = "https://files.grouplens.org/datasets/movielens"


@dataclass(frozen=True)
class SourceSettings:
    """Settings of every source; a source reads only what concerns it."""

    data_dir: Path | None = None  # looked into first; only ever read
    cache_dir: Path = Path(".usher/data")  # looked into next; downloads are unpacked here
    download: bool = True  # False: never touch the network
    base_url: str = MOVIELENS_URL
    timeout_s: float = 20.0  # for one connection or read, not for the whole download

    # For .csv and .parquet files only.
    user_column: str = "user"
    item_column: str = "item"
    rating_column: str = "rating"
    time_column: str | None = None  # Unix seconds, or dates in Parquet
    items_file: Path | None = None  # columns: the item id, and any of title, year, genres (a|b)
    users_file: Path | None = None  # columns: the user id, and categories of any name
    scale: RatingScale | None = None  # inferred from the ratings where None
    duplicates: Literal["error", "last"] = "error"  # "last": the latest of a pair counts

    @staticmethod
    def from_environment(environ: Mapping[str, str]) -> SourceSettings:
        """Defaults, with `data_dir` from USHER_DATA_DIR."""
        folder = environ.get("USHER_DATA_DIR")
        return SourceSettings(data_dir=Path(folder).expanduser() if folder else None)
