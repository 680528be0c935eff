"""Shares on disk: what the processes of a machine read when they start. Nothing is pickled.

What all have in common is written once, EASE's weights as a column that is mapped: processes of one
machine share its pages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.catalog import Catalog
from models.columns import read_array, write_array
from models.manifest import RatingScale
from training.baselines import EASE
from training.baselines.low_rank_ease import LowRankEASE
from training.fitting.initial import HeadStart
from training.fitting.shares import Share
from training.ratings import Origin, Ratings
from training.split import Fold
from training.teachers.teacher import RankingLessons, RatingLessons, Teacher, Tutor

COMMON, AHEAD, EASE_WEIGHTS, CATALOG = "common.json", "ahead.npz", "ease.npy", "catalog"
TEACHER = "teacher_"


def write_shares(shares: Sequence[Share], folder: Path) -> None:
    """Write the shares of one fit, the n-th for the n-th process of this machine."""
    first = shares[0]
    tutor, ratings = first.tutor or Tutor(), first.ratings
    on_ratings, on_ranking = tutor.ratings, tutor.ranking
    common = {
        "scale": ratings.scale.model_dump(),
        "origin": vars(ratings.origin),
        "fold": first.fold.name,
        "pairs": on_ratings and [on_ratings.pairs_per_user, on_ratings.rated_pairs],
        "ranking": on_ranking and [on_ranking.sharpness, on_ranking.teacher.liked_from],
    }
    (folder / COMMON).write_text(json.dumps(common))
    ratings.catalog.write(folder / CATALOG)
    if on_ranking is not None:
        write_array(folder / EASE_WEIGHTS, on_ranking.teacher.weights)
    votes = first.ahead.votes
    ahead = {"rating_factors": first.ahead.rating_factors} | (vars(votes) if votes else {})
    if on_ratings is not None:
        ahead["popularity"] = on_ratings.popularity
    _save(folder / AHEAD, ahead)
    for number, share in enumerate(shares):
        _save(_path(folder, number), _columns(share))


def read_share(folder: Path, number: int) -> Share:
    """Read what `write_shares` wrote for one process."""
    common = json.loads((folder / COMMON).read_text())
    columns, ahead = _load(_path(folder, number)), _load(folder / AHEAD)
    ratings = Ratings(
        columns["users"], columns["items"], columns["values"], None, columns["user_ids"],
        Catalog.read(folder / CATALOG), RatingScale(**common["scale"]), Origin(**common["origin"]),
    )  # fmt: skip
    votes = {name: ahead[name] for name in ("votes_in", "votes_out") if name in ahead}
    return Share(
        ratings,
        columns["rows"],
        Fold(common["fold"], columns["visible"], columns["hidden"]),
        _tutor(common, columns, ahead, folder),
        HeadStart(ahead.get("rating_factors"), LowRankEASE(**votes) if votes else None),
    )


def _columns(share: Share) -> dict[str, Any]:
    ratings, fold = share.ratings, share.fold
    columns = {
        "users": ratings.users, "items": ratings.items, "values": ratings.values,
        "user_ids": ratings.user_ids, "rows": share.rows, "visible": fold.visible,
        "hidden": fold.hidden,
    }  # fmt: skip
    if share.tutor is None or share.tutor.ratings is None:
        return columns
    teacher = vars(share.tutor.ratings.teacher)
    return columns | {f"{TEACHER}{name}": value for name, value in teacher.items()}


def _tutor(
    common: dict[str, Any], columns: dict[str, Any], ahead: dict[str, Any], folder: Path
) -> Tutor | None:
    on_ratings = on_ranking = None
    if common["pairs"] is not None:
        teacher: dict[str, Any] = {
            name.removeprefix(TEACHER): value if value.ndim else float(value)
            for name, value in columns.items()
            if name.startswith(TEACHER)
        }
        on_ratings = RatingLessons(Teacher(**teacher), ahead["popularity"], *common["pairs"])
    if common["ranking"] is not None:
        sharpness, liked_from = common["ranking"]
        on_ranking = RankingLessons(EASE(read_array(folder / EASE_WEIGHTS), liked_from), sharpness)
    return Tutor(on_ratings, on_ranking) if on_ratings or on_ranking else None


def _path(folder: Path, number: int) -> Path:
    return folder / f"share-{number}.npz"


def _save(path: Path, columns: dict[str, Any]) -> None:
    arrays = {name: value for name, value in columns.items() if value is not None}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _load(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
