"""Fits the teacher that a configuration asks for, in the optional environment of its library."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from training.baselines import fit_ease
from training.config import Configuration, Teaching
from training.errors import ConfigurationError, TrainingError
from training.peers.environment import ROOT, last_line, peer_python
from training.peers.exchange import Task, write_task
from training.peers.side_exchange import SideInformation, write_side
from training.peers.side_information import Kind, side_information
from training.ratings import Ratings
from training.split import Rows
from training.teacher import RankingLessons, RatingLessons, Teacher, Tutor
from training.time_effects import ratings_as_of

ENVIRONMENT, SCRIPT, FACTORS = "myfm", "training.peers.myfm_factors", "factors.npz"


def engage_tutor(
    ratings: Ratings, rows: Rows, configuration: Configuration, environments: Path
) -> Tutor | None:
    """Fit the teachers a configuration names to `rows`, and nothing else; None if it names none.

    Raises TrainingError if the library of one cannot be installed or fails.
    """
    settings, seed = configuration.training, configuration.seed
    on_ratings = on_ranking = None
    if settings.teacher is not None:
        told = ratings_as_of(ratings, rows, settings.time_effects)
        teacher = fit_teacher(told, rows, settings.teacher, seed, environments)
        pairs = settings.teacher.pairs_per_user
        on_ratings = RatingLessons.of(teacher, ratings.histories(rows), pairs)
    if settings.ranking_teacher is not None:
        ease = fit_ease(
            ratings,
            rows,
            liked_from=configuration.evaluation.liked_from,
            lambda_=settings.ranking_teacher.lambda_,
        )
        on_ranking = RankingLessons(ease, settings.ranking_teacher.sharpness)
    return Tutor(on_ratings, on_ranking) if on_ratings or on_ranking else None


def fit_teacher(
    ratings: Ratings, rows: Rows, settings: Teaching, seed: int, environments: Path
) -> Teacher:
    """Fit Bayesian SVD++ "flipped" to `rows` by Gibbs sampling (Rendle et al. 2019).

    The mean of the draws is compressed to rank `settings.compressed_rank`. Raises TrainingError in
    one sentence if the library cannot be installed or fails, or if there is no side information
    where it is asked for.
    """
    side = _side(ratings, rows, settings)
    python = peer_python(ENVIRONMENT, environments).absolute()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_task(folder, _task(ratings, rows, settings, seed))
        write_side(folder, side)
        done = subprocess.run(
            [python, "-m", SCRIPT, folder], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            raise TrainingError(f"The teacher could not be fitted: {last_line(done.stderr)}")
        with np.load(folder / FACTORS, allow_pickle=False) as arrays:
            teacher = Teacher(
                mean=float(arrays["mean"]),
                user_bias=arrays["user_bias"],
                item_bias=arrays["item_bias"],
                user_factors=arrays["user_factors"],
                item_factors=arrays["item_factors"],
            )
    return teacher.compressed(settings.compressed_rank, seed)


def _side(ratings: Ratings, rows: Rows, settings: Teaching) -> SideInformation:
    """What the teacher is told beside ratings; never dates: its pairs have none."""
    kinds: tuple[Kind, ...] = ("users", "items") if settings.side_information else ()
    side = side_information(ratings, rows, [], kinds)
    if kinds and not (side.users or side.items):
        raise ConfigurationError(
            f"teacher.side_information is on and {ratings.origin.source} describes neither users "
            "nor items; switch it off."
        )
    return side


def _task(ratings: Ratings, rows: Rows, settings: Teaching, seed: int) -> Task:
    return Task(
        user_count=len(ratings.user_ids),
        item_count=len(ratings.catalog),
        lowest=ratings.scale.minimum,
        highest=ratings.scale.maximum,
        liked_from=0.0,
        seed=seed,
        settings={"rank": settings.rank, "draws": settings.draws},
        users=ratings.users[rows].astype(np.int64),
        items=ratings.items[rows].astype(np.int64),
        values=ratings.values[rows],
        questions=(),
    )
