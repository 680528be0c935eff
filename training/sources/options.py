"""What the command line may say of a .csv or .parquet file: its columns, its scale, its duplicates.

A MovieLens release and synthetic ratings say all of it themselves, so an option given for one of
them is refused rather than ignored.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from models.manifest import RatingScale
from training.errors import DataError
from training.sources.settings import SourceSettings

OPTIONS = (
    "user_column", "item_column", "rating_column", "time_column", "items_file", "users_file",
    "scale", "duplicates",
)  # fmt: skip


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe a file of ratings; those not given are None."""
    group = parser.add_argument_group("a .csv or .parquet file of your own")
    for role in ("user", "item", "rating"):
        group.add_argument(
            f"--{role}-column", metavar="NAME", help=f"the column of the {role} (default: {role})"
        )
    group.add_argument(
        "--time-column", metavar="NAME", help="the column of Unix seconds (default: there is none)"
    )
    group.add_argument(
        "--items-file", type=Path, metavar="FILE",
        help="item ids with any of title, year and genres (a|b), as .csv or .parquet "
        "(default: none)",
    )  # fmt: skip
    group.add_argument(
        "--users-file", type=Path, metavar="FILE",
        help="user ids with columns of categories, such as an age group, as .csv or .parquet "
        "(default: none)",
    )  # fmt: skip
    group.add_argument(
        "--scale", type=rating_scale, metavar="LOW:HIGH:STEP",
        help="the ratings there can be, e.g. 0.5:5:0.5 (default: read off the ratings)",
    )  # fmt: skip
    group.add_argument(
        "--duplicates",
        choices=("error", "last"),
        help="what to do where a user rates an item twice: refuse, or keep the latest "
        "(default: error)",
    )


def rating_scale(text: str) -> RatingScale:
    """LOW:HIGH:STEP as a scale. Raises ArgumentTypeError with what is wrong."""
    try:
        low, high, step = (float(part) for part in text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW:HIGH:STEP, as 1:5:1 is") from None
    if not (math.isfinite(high - low) and low < high and 0 < step <= high - low):
        raise argparse.ArgumentTypeError(f"{text!r} has no two ratings: 1:5:1 has five")
    return RatingScale(minimum=low, maximum=high, step=step)


def described(
    settings: SourceSettings, options: argparse.Namespace, name: str, *, is_file: bool
) -> SourceSettings:
    """The settings with what `options` say. Raises DataError where data `name` is no file."""
    given: Mapping[str, object] = {
        option: value for option in OPTIONS if (value := getattr(options, option)) is not None
    }
    if given and not is_file:
        flags = " and ".join("--" + option.replace("_", "-") for option in given)
        raise DataError(
            f"{flags} can describe a .csv or .parquet file only, and {name} is none; leave it out."
        )
    return replace(settings, **given)  # type: ignore[arg-type]
