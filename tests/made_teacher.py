"""In place of the teacher's library: biases and singular vectors, fitted by a process all the same.

It writes a line into the file that USHER_TEST_FITS names when it starts and one when it ends. With
USHER_TEST_FIT_SECONDS it takes that long; asked for an odd rank it fails.

python -m tests.made_teacher FOLDER
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from training.peers.exchange import read_task


def take_the_place(fits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fits in this process be made by this module, which says so in the file `fits`."""
    fits.touch()
    monkeypatch.setenv("USHER_TEST_FITS", str(fits))
    monkeypatch.setattr("training.teachers.teacher_fit.SCRIPT", "tests.made_teacher")
    monkeypatch.setattr(
        "training.teachers.teacher_fit.peer_python", lambda name, environments: Path(sys.executable)
    )


def main(folder: Path) -> None:
    task, fits = read_task(folder), Path(os.environ["USHER_TEST_FITS"])
    rank = int(task.settings["rank"])
    with fits.open("a") as file:
        file.write(f"began {os.getpid()} {len(task.values)}\n")
    time.sleep(float(os.environ.get("USHER_TEST_FIT_SECONDS", "0")))
    if rank % 2:
        raise RuntimeError("an odd rank")
    left = np.zeros((task.user_count, task.item_count))
    left[task.users, task.items] = task.values - task.values.mean()
    u, s, vt = np.linalg.svd(left, full_matrices=False)
    np.savez(
        folder / "factors.npz",
        mean=task.values.mean(),
        user_bias=np.zeros(task.user_count, np.float32),
        item_bias=np.zeros(task.item_count, np.float32),
        user_factors=(u[:, :rank] * s[:rank]).astype(np.float32),
        item_factors=vt[:rank].T.astype(np.float32),
    )
    with fits.open("a") as file:
        file.write(f"ended {os.getpid()} {len(task.values)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
