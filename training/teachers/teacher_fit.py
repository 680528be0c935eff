"""Fits a teacher in a process of its own, in the optional environment of its library.

A fit takes one core for minutes, so a run may have several going at once, and what came out is kept
under a digest of all that it depends on: no run waits for a teacher that another has fitted.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from training.code_digest import code_digest
from training.config import Teaching
from training.errors import ConfigurationError, TrainingError
from training.peers.environment import PINS, ROOT, last_line, peer_python
from training.peers.exchange import TASK, Task, write_task
from training.peers.side_exchange import SIDE, SideInformation, write_side
from training.peers.side_information import Kind, side_information
from training.ratings import Ratings
from training.split import Rows
from training.teachers.teacher import Teacher, keep_teacher, kept_teacher

ENVIRONMENT, SCRIPT = "myfm", "training.peers.myfm_factors"
FACTORS, COMPLAINTS = "factors.npz", "stderr.txt"
A_YEAR_S = 365 * 24 * 3600.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class TeacherFit:
    """Bayesian SVD++ "flipped" fitted to rows by Gibbs sampling (Rendle et al. 2019).

    Its process starts at once, if no such teacher is kept; whoever makes one must `stop` it,
    whether it was waited for or not.
    """

    def __init__(
        self, ratings: Ratings, rows: Rows, settings: Teaching, seed: int, state: Path
    ) -> None:
        """state: the folder of kept teachers and of the environments of their libraries.

        Raises TrainingError in one sentence if the library cannot be installed, or if there is no
        side information where it is asked for.
        """
        side = _side(ratings, rows, settings)
        self._settings, self._seed = settings, seed
        self._temporary = tempfile.TemporaryDirectory()
        self._folder = Path(self._temporary.name)
        try:
            write_task(self._folder, _task(ratings, rows, settings, seed))
            write_side(self._folder, side)
            self._path = state / "teachers" / f"{self._digest()}.npz"
            self._process = None if self._path.exists() else self._begin(state / "peers")
        except BaseException:
            self._temporary.cleanup()
            raise
        self._begun_at = time.time()

    def result(self) -> Teacher:
        """The mean of its draws, compressed to `settings.compressed_rank`; waits for the fit.

        Raises TrainingError in one sentence if it failed.
        """
        if self._process is None:
            return kept_teacher(self._path)
        # With a timeout it sleeps and looks; without, it would be deaf to Ctrl-C, since a library
        # we load has system calls restarted after a signal.
        if self._process.wait(timeout=A_YEAR_S):
            said = last_line((self._folder / COMPLAINTS).read_text(errors="replace"))
            raise TrainingError(f"The teacher could not be fitted: {said}")
        with np.load(self._folder / FACTORS, allow_pickle=False) as arrays:
            teacher = Teacher(
                mean=float(arrays["mean"]),
                user_bias=arrays["user_bias"],
                item_bias=arrays["item_bias"],
                user_factors=arrays["user_factors"],
                item_factors=arrays["item_factors"],
                fit_seconds=(self._folder / FACTORS).stat().st_mtime - self._begun_at,
            )
        keep_teacher(teacher.compressed(self._settings.compressed_rank, self._seed), self._path)
        return kept_teacher(self._path)

    def stop(self) -> None:
        """End the process, if there is one and it has not ended, and remove its files."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._temporary.cleanup()

    def _begin(self, environments: Path) -> subprocess.Popen[bytes]:
        python = peer_python(ENVIRONMENT, environments).absolute()
        with (self._folder / COMPLAINTS).open("wb") as complaints:
            return subprocess.Popen(
                [python, "-m", SCRIPT, self._folder], cwd=ROOT, env=ONE_THREAD | dict(os.environ),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints,
            )  # fmt: skip

    def _digest(self) -> str:
        """Of what the process reads, the code it runs, its library, and what is made of it."""
        sha256 = hashlib.sha256(code_digest([SCRIPT, "training.teachers.teacher"]).encode())
        sha256.update((PINS / f"{ENVIRONMENT}.txt").read_bytes())
        sha256.update(f"{self._settings.compressed_rank} {self._seed}".encode())
        for name in (TASK, SIDE):
            sha256.update((self._folder / name).read_bytes())
        return sha256.hexdigest()[:32]


def fit_teacher(
    ratings: Ratings, rows: Rows, settings: Teaching, seed: int, state: Path
) -> Teacher:
    """Fit one teacher and wait for it, or take up the kept one. Raises as TeacherFit does."""
    fit = TeacherFit(ratings, rows, settings, seed, state)
    try:
        return fit.result()
    finally:
        fit.stop()


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
