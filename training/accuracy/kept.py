"""Predicted ratings of a measured model, kept on disk for the blend.

validation: by the model fitted on the fit rows; tests: by the refitted one. Both are in the order
of Bench.ratings_of. They lie in the cell's folder, which changes with the recipe, so predictions of
other settings or code are never blended.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILE = "ratings.npz"


@dataclass(frozen=True)
class Kept:
    """Predicted ratings of the validation rows and of each test fold's, and their price."""

    validation: NDArray[np.float32]
    tests: tuple[NDArray[np.float32], ...]
    train_seconds: float


def keep(folder: Path, kept: Kept) -> None:
    """Write the predictions, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"{FILE}.half"
    arrays = {f"test.{number}": rated for number, rated in enumerate(kept.tests)}
    with half.open("wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            validation=kept.validation,
            train_seconds=np.array(kept.train_seconds),
            **arrays,
        )
    os.replace(half, folder / FILE)


def read_kept(folder: Path) -> Kept | None:
    """The predictions kept in `folder`; None if there are none."""
    if not (folder / FILE).is_file():
        return None
    with np.load(folder / FILE, allow_pickle=False) as arrays:
        count = sum(name.startswith("test.") for name in arrays.files)
        tests = tuple(arrays[f"test.{number}"] for number in range(count))
        return Kept(arrays["validation"], tests, float(arrays["train_seconds"]))
