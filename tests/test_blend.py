"""make accuracy: the blend of what models predicted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.accuracy_parts import DATA, SOURCES, bench_of, cell_of, job_of, row_of
from training.accuracy.blend import measure_blend
from training.accuracy.command import recipes_for
from training.accuracy.kept import Kept, keep, read_kept
from training.accuracy.models import recipe_of
from training.accuracy.record import Run
from training.ensembles.blending import fit_blend
from training.errors import TrainingError
from training.ratings import Ratings
from training.sources import load_ratings


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return load_ratings(DATA, SOURCES)


def test_weights_are_the_best_that_are_not_negative() -> None:
    rng = np.random.default_rng(3)
    actual = rng.normal(3.5, 1.0, 4000).astype(np.float32)
    good = actual + rng.normal(0, 0.8, 4000).astype(np.float32)
    fair = actual + rng.normal(0, 1.2, 4000).astype(np.float32)
    blend = fit_blend(np.stack([good, fair]), actual)
    grid = np.linspace(0, 1, 201)
    mean = actual.mean()
    errors = {
        (a, b): np.mean((mean + a * (good - mean) + b * (fair - mean) - actual) ** 2)
        for a in grid
        for b in grid
    }
    assert blend.weights == pytest.approx(min(errors, key=lambda pair: errors[pair]), abs=0.01)
    backwards = fit_blend(np.stack([good, 7 - actual]), actual)
    assert backwards.weights[1] == 0.0


def test_members_that_agree_share_the_weight() -> None:
    actual = np.random.default_rng(0).normal(3, 1, 500).astype(np.float32)
    blend = fit_blend(np.stack([actual, actual]), actual)
    assert blend.weights == pytest.approx([0.5, 0.5], abs=1e-6)


def test_a_blend_is_better_than_its_members_on_the_test_rows(
    tmp_path: Path, ratings: Ratings
) -> None:
    bench = bench_of(cell_of("blend"), ratings, tmp_path)
    rng = np.random.default_rng(1)
    folds = (bench.split.validation, *bench.split.tests)
    truths = [ratings.histories(fold.hidden).ratings for fold in folds]
    member_rmse = []
    names = ("myfm", "best", "myfm-side", "myfm-ordinal")
    for name in names:  # kept, so nothing is fitted
        rated = [truth + rng.normal(0, 0.9, len(truth)).astype(np.float32) for truth in truths]
        keep(bench.folder_of(cell_of(name)), Kept(rated[0], (rated[1],), 10.0))
        member_rmse.append(math.sqrt(np.mean((rated[1] - truths[1]) ** 2)))
    found = measure_blend(bench)
    assert found.train_seconds == 40.0
    weights = found.choices["weights"]
    assert tuple(weights) == names
    alone = [found.choices["rmse"][name]["test"] for name in names]
    assert alone == pytest.approx(member_rmse, abs=1e-4)
    kept = [read_kept(bench.folder_of(cell_of(name))) for name in names]
    centre = truths[0].mean()
    blended = centre + sum(
        weight * (member.tests[0] - centre)
        for weight, member in zip(weights.values(), kept, strict=True)
        if member is not None
    )
    expected = math.sqrt(np.mean((blended - truths[1]) ** 2))
    assert found.scores[0].rmse == pytest.approx(expected, abs=1e-4)
    assert expected < min(member_rmse)


def test_predictions_are_looked_for_where_the_row_that_stands_put_them(tmp_path: Path) -> None:
    blend, older, unmeasured = cell_of("blend"), cell_of("myfm"), cell_of("best")
    job, _ = job_of(tmp_path, blend, keep_older=True)
    for cell in (blend, older):
        job.record.put(cell, [row_of(cell)], Run(recipe="older", code="c", choices={}))
    standing = recipes_for(blend, job)
    assert standing(older) == "older"
    assert standing(blend) == recipe_of(blend)
    assert standing(unmeasured) == recipe_of(unmeasured)
    fresh, _ = job_of(tmp_path, blend)
    assert recipes_for(blend, fresh)(older) == recipe_of(older)


def test_a_blend_says_which_member_it_lacks(tmp_path: Path, ratings: Ratings) -> None:
    bench = bench_of(cell_of("blend"), ratings, tmp_path)
    keep(bench.folder_of(cell_of("myfm")), Kept(np.zeros(0, np.float32), (), 0.0))
    with pytest.raises(TrainingError, match=r"best:1 AGAIN=1"):
        measure_blend(bench)
