"""Fetching an archive: progress while it comes, its published md5 before anybody reads it."""

from __future__ import annotations

import hashlib
import http.client
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from training.errors import DataError

PIECE_BYTES = 1 << 18


class NetworkError(Exception):
    """The server cannot be reached, or does not hand out what was asked for."""


@contextmanager
def download(url: str, folder: Path, md5: str | None, timeout_s: float) -> Iterator[Path]:
    """Fetch `url` into a temporary file of `folder` that lives as long as the context.

    With `md5` None the digest is read from `<url>.md5`. Raises NetworkError, or DataError where the
    bytes do not match the digest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=".download-", suffix=".zip", dir=folder) as file:
        try:
            expected = md5 or _published_md5(url, timeout_s)
            found = _copy(url, file, timeout_s)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NetworkError(_reason(error)) from None
        if found != expected:
            raise DataError(
                f"What {url} sent has the md5 {found} and not the published {expected}, so it was "
                "discarded; try again, or download the archive by hand."
            )
        yield Path(file.name)


def _copy(url: str, file: IO[bytes], timeout_s: float) -> str:
    """Write the answer's body to `file`, all of it; the md5 of what was written."""
    md5, received = hashlib.md5(usedforsecurity=False), 0
    with urllib.request.urlopen(url, timeout=timeout_s) as answer, _progress() as progress:
        total = int(answer.headers.get("Content-Length") or 0) or None
        task = progress.add_task(url.rpartition("/")[2], total=total)
        while piece := answer.read(PIECE_BYTES):
            file.write(piece)
            md5.update(piece)
            received += len(piece)
            progress.update(task, completed=received)
    if total is not None and received < total:
        raise OSError(f"the connection broke off after {received} of {total} bytes")
    file.flush()
    return md5.hexdigest()


def _published_md5(url: str, timeout_s: float) -> str:
    with urllib.request.urlopen(f"{url}.md5", timeout=timeout_s) as answer:
        text = answer.read(4096).decode("ascii", errors="replace")
    if found := re.search(r"\b[0-9a-fA-F]{32}\b", text):
        return found.group().lower()
    raise ValueError(f"{url}.md5 holds no md5")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection, {error.reason}"
    return str(error) or type(error).__name__


def _progress() -> Progress:
    return Progress(
        TextColumn("Downloading {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
