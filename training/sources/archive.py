"""Unpacking: a release's files appear in the cache all at once or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from training.errors import DataError
from training.sources.releases import Release

# zipfile's ways of saying that an archive is not whole, or not one of ours.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def unpack(archive: Path, release: Release, target: Path) -> None:
    """Put the files that are read, of those in `archive`, into the folder `target`, atomically.

    Raises DataError if the archive is truncated, damaged or of something else.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _extract(archive, release, folder)
        folder.chmod(0o755)
        _publish(folder, target, release)
    except DAMAGE as error:
        raise DataError(
            f"The archive {archive} is truncated or damaged ({error}); "
            "delete it and fetch it again."
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _extract(archive: Path, release: Release, folder: Path) -> None:
    """Copy members by base name, so no member can name a place outside `folder`."""
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            path = PurePosixPath(member.filename)
            if path.parts[:-1] == (release.folder,) and path.name in release.wanted_files:
                with zipped.open(member) as source, (folder / path.name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    for name in (release.ratings_file, release.items_file):
        if not (folder / name).is_file():
            raise DataError(
                f"The archive {archive} holds no {release.folder}/{name}, so it is not "
                f"{release.name}; delete it and fetch it again."
            )


def _publish(folder: Path, target: Path, release: Release) -> None:
    """Rename into place; whoever else unpacked the same release meanwhile has won already."""
    try:
        os.rename(folder, target)
    except OSError:
        if (target / release.ratings_file).is_file():
            return
        shutil.rmtree(target, ignore_errors=True)  # a leftover without ratings
        os.rename(folder, target)
