"""Where a MovieLens release lies: the data folder first, then the cache, then the network.

An archive beside where the folder would be counts too: a machine without network can be given
`ml-1m.zip`. Unpacking always happens in the cache; the data folder is only read.
"""

from __future__ import annotations

from pathlib import Path

from training.errors import DataError, DataUnavailable
from training.sources.archive import unpack
from training.sources.download import NetworkError, download
from training.sources.releases import Release
from training.sources.settings import SourceSettings


def release_folder(release: Release, settings: SourceSettings) -> Path:
    """The folder that holds the release's files, fetched if need be.

    Raises DataUnavailable if the release is nowhere on disk and cannot be downloaded, DataError
    if an archive is damaged or the cache cannot be written.
    """
    if folder := _unpacked(release, settings):
        return folder
    target = settings.cache_dir / release.name
    try:
        if archive := _archive(release, settings):
            unpack(archive, release, target)
        else:
            _download(release, settings, target)
    except OSError as error:
        raise DataError(
            f"{release.name} cannot be unpacked into {settings.cache_dir} ({error}); make room "
            "there or choose another cache folder."
        ) from None
    return target


def on_disk(release: Release, settings: SourceSettings) -> bool:
    """Whether the release can be read without the network."""
    return bool(_unpacked(release, settings) or _archive(release, settings))


def _download(release: Release, settings: SourceSettings, target: Path) -> None:
    if not settings.download:
        raise DataUnavailable(_absent(release, settings, "downloading is switched off"))
    url = f"{settings.base_url}/{release.name}.zip"
    try:
        with download(url, settings.cache_dir, release.md5, settings.timeout_s) as archive:
            unpack(archive, release, target)
    except NetworkError as error:
        raise DataUnavailable(_absent(release, settings, f"{url}: {error}")) from None


def _roots(settings: SourceSettings) -> list[Path]:
    return [root for root in (settings.data_dir, settings.cache_dir) if root is not None]


def _unpacked(release: Release, settings: SourceSettings) -> Path | None:
    folders = [root / n for root in _roots(settings) for n in (release.name, release.folder)]
    return next((f for f in folders if (f / release.ratings_file).is_file()), None)


def _archive(release: Release, settings: SourceSettings) -> Path | None:
    archives = [root / f"{release.name}.zip" for root in _roots(settings)]
    return next((archive for archive in archives if archive.is_file()), None)


def _absent(release: Release, settings: SourceSettings, reason: str) -> str:
    places = " or ".join(str(root) for root in _roots(settings))
    return (
        f"{release.name} is not in {places} and cannot be downloaded ({reason}); set "
        f"USHER_DATA_DIR to a folder that holds {release.name}/, or use synthetic data."
    )
