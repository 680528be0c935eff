"""What a configuration's teachers teach: fitted to rows, and asked from then on."""

from __future__ import annotations

from pathlib import Path

from training.baselines import fit_ease
from training.config import Configuration
from training.fitting.time_effects import ratings_as_of
from training.ratings import Ratings
from training.split import Rows
from training.teachers.teacher import RankingLessons, RatingLessons, Teacher, Tutor
from training.teachers.teacher_fit import fit_teacher


def engage_tutor(
    ratings: Ratings, rows: Rows, configuration: Configuration, state: Path
) -> Tutor | None:
    """Fit the teachers a configuration names to `rows`, and nothing else; None if it names none.

    Raises TrainingError if the library of one cannot be installed or fails.
    """
    settings, teacher = configuration.training, None
    if settings.teacher is not None:
        told = ratings_as_of(ratings, rows, settings.time_effects)
        teacher = fit_teacher(told, rows, settings.teacher, configuration.seed, state)
    return tutor_of(ratings, rows, configuration, teacher)


def tutor_of(
    ratings: Ratings, rows: Rows, configuration: Configuration, teacher: Teacher | None
) -> Tutor | None:
    """What a configuration takes from a teacher fitted to `rows`, and from EASE, fitted here."""
    settings, on_ratings, on_ranking = configuration.training, None, None
    if settings.teacher is not None and teacher is not None:
        on_ratings = RatingLessons.of(
            teacher, ratings.histories(rows), settings.teacher.pairs_per_user,
            rated_pairs=settings.teacher.rated_pairs,
        )  # fmt: skip
    if settings.ranking_teacher is not None:
        ease = fit_ease(
            ratings,
            rows,
            liked_from=configuration.evaluation.liked_from,
            lambda_=settings.ranking_teacher.lambda_,
        )
        on_ranking = RankingLessons(ease, settings.ranking_teacher.sharpness)
    return Tutor(on_ratings, on_ranking) if on_ratings or on_ranking else None
