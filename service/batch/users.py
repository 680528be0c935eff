"""Whom to recommend to: everybody the bundle or the ratings Redis knows, or those a file names.

Ids are ASCII bytes in ascending order, each once, so that a part is a stretch of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.errors import BatchRefused
from service.schemas import is_id

HASHED = 10_000  # ids that are text at a time


def users_in(path: Path) -> NDArray[np.bytes_]:
    """The users a file names, one id a line; raises BatchRefused, naming the line at fault."""
    try:
        lines = path.read_text("ascii").splitlines()
    except OSError as error:
        raise BatchRefused(
            f"The file of users {path} cannot be read ({error.strerror}): name one with an id a "
            "line."
        ) from None
    except UnicodeDecodeError:
        raise BatchRefused(f"The file of users {path} is not text: write one id a line.") from None
    named = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    for number, user_id in named:
        if is_id(user_id) is None:
            raise BatchRefused(
                f"Line {number} of {path} is no user's id: an id has 1 to 128 characters from "
                "A-Za-z0-9._-."
            )
    if not named:
        raise BatchRefused(f"The file of users {path} names nobody: write one id a line.")
    return np.unique(np.array([user_id for _, user_id in named], "S"))


def newcomers(known: NDArray[np.bytes_], user_ids: Iterable[str]) -> NDArray[np.bytes_]:
    """Of `user_ids`, those the bundle does not know."""
    return np.setdiff1d(np.array(sorted(user_ids), "S"), known)


def with_newcomers(known: NDArray[np.bytes_], others: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """Both; the bundle's own column, which is not in memory, where there is nobody else."""
    return np.union1d(known, others) if len(others) else known


def digest_of(users: NDArray[np.bytes_]) -> str:
    """SHA-256 of the ids, a line each."""
    digest = hashlib.sha256()
    for start in range(0, len(users), HASHED):
        digest.update(b"".join(b"%s\n" % user for user in users[start : start + HASHED].tolist()))
    return digest.hexdigest()
