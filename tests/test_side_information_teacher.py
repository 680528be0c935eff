"""A teacher that is told side information: still biases and factors, and it knows more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.side_information_parts import ENVIRONMENTS, needs_myfm, planted, task_of
from tests.small_ratings import halves, random_ratings
from training.config import Teaching
from training.errors import ConfigurationError
from training.peers.environment import ROOT, peer_python
from training.peers.exchange import write_task
from training.peers.side_exchange import write_side
from training.peers.side_information import side_information
from training.teachers.teacher_fit import fit_teacher

TAUGHT = """
import sys
from pathlib import Path
import numpy as np
from training.peers import myfm_factors
from training.peers.exchange import read_task
from training.peers.fm_features import side_features
from training.peers.myfm import relation_blocks
from training.peers.side_exchange import read_side

folder = Path(sys.argv[1])
task, side = read_task(folder), read_side(folder)
features, (question,) = side_features(task, side), task.questions
model = myfm_factors.fitted(task, side)
asked = relation_blocks(features, question.users[question.pair_rows], question.pair_items)
np.savez(
    folder / "taught.npz", rated=model.predict(None, asked, n_workers=1),
    **myfm_factors.factors(model, features),
)
"""


@needs_myfm
def test_a_teacher_told_more_is_still_biases_and_factors(tmp_path: Path) -> None:
    ratings = planted(people=12, films=8, share=0.7)
    rows, asked = halves(len(ratings), seed=0)
    side = side_information(ratings, rows, [asked], ["users", "items"])
    write_task(tmp_path, task_of(ratings, rows, asked, draws=40))
    write_side(tmp_path, side)
    python = peer_python("myfm", ENVIRONMENTS)
    subprocess.run([python, "-c", TAUGHT, tmp_path], cwd=ROOT, check=True, capture_output=True)
    users, items = ratings.users[asked], ratings.items[asked]
    with np.load(tmp_path / "taught.npz") as taught:
        assert taught["user_factors"].shape == (12, 20 * 2)
        products = (taught["user_factors"][users] * taught["item_factors"][items]).sum(1)
        biases = taught["user_bias"][users] + taught["item_bias"][items]
        np.testing.assert_allclose(taught["mean"] + biases + products, taught["rated"], atol=1e-4)


@needs_myfm
def test_a_teacher_told_more_knows_more(tmp_path: Path) -> None:
    (tmp_path / "peers").symlink_to(ENVIRONMENTS)
    ratings = planted(people=150, films=60, share=0.08)
    rows, asked = halves(len(ratings), seed=1)

    def rmse(*, told: bool) -> float:
        teaching = Teaching(rank=3, draws=60, side_information=told)
        teacher = fit_teacher(ratings, rows, teaching, 1, tmp_path)
        users, items = ratings.users[asked].astype(np.int64), ratings.items[asked].astype(np.int64)
        rated = teacher.rate(users, items)
        return float(np.sqrt(np.mean((rated - ratings.values[asked]) ** 2)))

    assert rmse(told=True) < rmse(told=False) - 0.1


def test_a_teacher_cannot_be_told_what_nobody_says(tmp_path: Path) -> None:
    ratings = random_ratings(20, 10, 0.5, seed=0)
    teaching = Teaching(side_information=True)
    with pytest.raises(ConfigurationError, match="describes neither users nor items; switch"):
        fit_teacher(ratings, np.arange(50), teaching, 1, tmp_path)
