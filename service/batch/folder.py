"""A folder of parts: each whole or absent, kept when a run is interrupted, never mixed with others.

    part-00000.parquet ...   written under a name that begins with a dot, then renamed
    _manifest.json           the plan, from the start on, so that a later run knows what it may keep
    _newcomers.txt           users that only the ratings Redis knew when the run began
    _SUCCESS                 empty; there once every part is

Readers of data sets pass over names that begin with a dot or an underscore.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.batch.plan import Manifest
from service.errors import BatchRefused

MANIFEST, NEWCOMERS, SUCCESS, LOCK = "_manifest.json", "_newcomers.txt", "_SUCCESS", ".lock"
OURS = re.compile(r"part-\d{5,}\.parquet|\..+\.half|_manifest\.json|_newcomers\.txt|_SUCCESS")


def part_name(part: int) -> str:
    """The file of one part."""
    return f"part-{part:05}.parquet"


@contextmanager
def held_folder(path: Path) -> Iterator[OutputFolder]:
    """The folder at `path`, made if need be, for one run at a time.

    Raises BatchRefused if it cannot be used, holds anything else, or another run is at it.
    """
    with _telling(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BatchRefused(f"Another run is writing to {path}: wait for its end.") from None
        foreign = [name for name in sorted(os.listdir(path)) if name != LOCK]
        foreign = [name for name in foreign if OURS.fullmatch(name) is None]
        if foreign:
            raise BatchRefused(
                f"{path} holds {foreign[0]}, which is no part of a batch: name an empty folder."
            )
        yield OutputFolder(path)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """What the disk says, in one sentence; that a file is not there is for the caller."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BatchRefused(
            f"{path} cannot be written ({error.strerror}): see to that and run the same command "
            "again; finished parts are kept."
        ) from None


class OutputFolder:
    """What a run keeps; every method raises BatchRefused where the disk says no."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def manifest(self) -> Manifest | None:
        """The record of the run that began here, if one did."""
        try:
            with _telling(self.path):
                return Manifest.model_validate_json((self.path / MANIFEST).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise BatchRefused(
                f"{self.path / MANIFEST} is not what this version of Usher writes: name another "
                "folder, or add --again to replace what is there."
            ) from None

    @property
    def finished(self) -> bool:
        """Whether that run has ended well."""
        return (self.path / SUCCESS).exists()

    def newcomers(self) -> NDArray[np.bytes_]:
        """The users it noted down."""
        with _telling(self.path):
            lines = (self.path / NEWCOMERS).read_bytes().split()
        return np.array(lines, "S")

    def clear(self) -> None:
        """Remove what a run left, what says that it is whole first."""
        with _telling(self.path):
            for name in (SUCCESS, MANIFEST, *os.listdir(self.path)):
                if OURS.fullmatch(name):
                    (self.path / name).unlink(missing_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """A file, whole or not at all."""
        half = self.path / f".{name}.half"
        with _telling(self.path / name):
            try:
                with half.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(half, self.path / name)
            finally:
                half.unlink(missing_ok=True)

    def begin(self, manifest: Manifest, newcomers: NDArray[np.bytes_]) -> None:
        """Note what is to come, in an order in which a kill leaves nothing half known."""
        self.write(NEWCOMERS, b"".join(b"%s\n" % user for user in newcomers.tolist()))
        self.write(MANIFEST, manifest.model_dump_json(indent=1).encode())

    def finish(self, manifest: Manifest) -> None:
        """Say what there is, and that it is all."""
        self.write(MANIFEST, manifest.model_dump_json(indent=1).encode())
        self.write(SUCCESS, b"")
