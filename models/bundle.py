"""The bundle: an exported model on disk, the only thing that passes from training to service.

    manifest.json        what it is, how good it is, and a digest of every other file
    manifest.sha256      the digest of manifest.json; it names the bundle
    recommend.onnx       histories -> the best K items with score, rating and spread
    recommend-int8.onnx  the same for a CPU, if there are items enough for it to pay
    rate.onnx            histories and named items -> rating, spread and score
    weights.bin          the initialisers the graphs share
    catalog/*.npy        the item catalogue, columnar
    titles/*.npy         its titles as they are searched
    items/*.npy          ratings counted and nearest neighbours of each item, columnar
    histories/*.npy      the histories of known users, columnar, sorted by user id, then item

Writing happens in a temporary folder that is verified and then renamed, so a bundle is either
whole or absent. Opening verifies every digest first, unless these very files were
verified before. Nothing is pickled.

    BundleError                 says in one sentence what is wrong with a bundle
    |-- BundleMissing           there is no bundle at that path
    |-- BundleCorrupt           a file is absent, extra, or differs from its digest
    `-- BundleIncompatible      written in a format this code does not read
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from models.catalog import Catalog
from models.columns import ColumnFile, read_array, write_array
from models.folded_titles import FoldedTitles
from models.histories import Histories
from models.item_columns import ItemColumns
from models.manifest import FORMAT_VERSION, Description, FileDigest, Manifest

MANIFEST, MANIFEST_DIGEST = "manifest.json", "manifest.sha256"
# BentoML's model store keeps a record beside the bundle's files; it is not part of the bundle.
STORE_FILES = frozenset({"model.yaml"})


class BundleError(Exception):
    """A bundle cannot be used; the message is one sentence for the person who asked for it."""


class BundleMissing(BundleError):
    """There is no bundle at the path."""


class BundleCorrupt(BundleError):
    """A file of the bundle is absent, extra, or not what its digest says."""


class BundleIncompatible(BundleError):
    """The bundle was written in a format this code does not read."""


@dataclass(frozen=True)
class UserHistories:
    """The histories of known users.

    ids: ASCII bytes `S<width>` [U], ascending and unique. histories: one row per id. files: the
    items and ratings of all histories, of a stored bundle.
    """

    ids: NDArray[np.bytes_]
    histories: Histories
    files: tuple[ColumnFile, ColumnFile] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    def row_of(self, user_id: str) -> int | None:
        """The row of a user, None for a user nobody knows: a binary search, no index in memory."""
        key = np.bytes_(user_id.encode("utf-8"))
        row = int(self.ids.searchsorted(key))
        return row if row < len(self.ids) and self.ids[row] == key else None

    def history_of(self, user_id: str) -> Histories:
        """One user's history; an empty one for a user nobody knows."""
        row = self.row_of(user_id)
        return Histories.empty(1) if row is None else self.history_at(row)

    def history_at(self, row: int) -> Histories:
        """One row's history, read from the files of a stored bundle and not from a mapping."""
        if self.files is None:
            return self.histories.take([row])
        start, end = self.histories.offsets[row : row + 2].tolist()
        items, ratings = (file.read(start, end) for file in self.files)
        return Histories(items.astype(np.int64), ratings, np.array([0, end - start], np.int64))

    def write(self, folder: Path) -> None:
        """Store the columns under `folder`."""
        write_array(folder / "users.npy", self.ids)
        write_array(folder / "items.npy", self.histories.items.astype(np.int32))
        write_array(folder / "ratings.npy", self.histories.ratings.astype(np.float32))
        write_array(folder / "offsets.npy", self.histories.offsets.astype(np.int64))

    @staticmethod
    def read(folder: Path) -> UserHistories:
        """Open what `write` stored; nothing is read or mapped in before it is asked for."""
        columns = {name: read_array(folder / f"{name}.npy") for name in ("items", "ratings")}
        return UserHistories(
            ids=read_array(folder / "users.npy"),
            histories=Histories(offsets=read_array(folder / "offsets.npy"), **columns),
            files=(ColumnFile(folder / "items.npy"), ColumnFile(folder / "ratings.npy")),
        )


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `digest` is the SHA-256 of its manifest, and so of all it holds."""

    path: Path
    digest: str
    manifest: Manifest

    @cached_property
    def catalog(self) -> Catalog:
        """The item catalogue."""
        return Catalog.read(self.path / "catalog")

    @cached_property
    def folded_titles(self) -> FoldedTitles:
        """The catalogue's titles as they are searched, memory-mapped."""
        return FoldedTitles.read(self.path / "titles")

    @cached_property
    def items(self) -> ItemColumns:
        """Rating counts and neighbours of the items, memory-mapped."""
        return ItemColumns.read(self.path / "items")

    @cached_property
    def users(self) -> UserHistories:
        """The histories of known users."""
        return UserHistories.read(self.path / "histories")

    @property
    def recommend_graph(self) -> Path:
        """Path of the graph that answers with the best K items, selected in float32."""
        return self.path / self.manifest.recommend.file

    @property
    def recommend_int8_graph(self) -> Path | None:
        """Path of the graph with the same answers, selected on int8; None where it does not pay."""
        spec = self.manifest.recommend_int8
        return None if spec is None else self.path / spec.file

    @property
    def rate_graph(self) -> Path:
        """Path of the graph that rates named items."""
        return self.path / self.manifest.rate.file


def write_bundle(
    target: Path,
    describe: Callable[[Path], Description],
    catalog: Catalog,
    items: ItemColumns,
    users: UserHistories,
) -> Bundle:
    """Write a bundle at `target`, whole or not at all.

    `describe` receives the temporary folder, writes the graphs and their weights into it and
    returns the description. An existing `target` is replaced in two renames, never half-written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        catalog.write(folder / "catalog")
        FoldedTitles.of(catalog.titles).write(folder / "titles")
        items.write(folder / "items")
        users.write(folder / "histories")
        description = describe(folder)
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            files={name: file_digest(folder / name) for name in files_of(folder)},
            **dict(description),
        )
        text = manifest.model_dump_json(indent=2).encode()
        (folder / MANIFEST).write_bytes(text)
        (folder / MANIFEST_DIGEST).write_text(hashlib.sha256(text).hexdigest() + "\n")
        open_bundle(folder)
        folder.chmod(0o755)
        _replace(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return open_bundle(target)


def open_bundle(path: Path, seen: str | None = None) -> Bundle:
    """Verify the bundle at `path`: its format, its files, and every digest.

    seen: what `verify_bundle` gave for a bundle; its files are not read again if they are the same
    ones and nothing has written to them. Raises BundleMissing, BundleIncompatible or BundleCorrupt;
    the message names the file.
    """
    digest, manifest = _read_manifest(path)
    present = set(files_of(path))
    if absent := sorted(set(manifest.files) - present):
        raise BundleCorrupt(f"The bundle {path} lacks the file {absent[0]}; export it again.")
    if extra := sorted(present - set(manifest.files)):
        raise BundleCorrupt(
            f"The bundle {path} holds the file {extra[0]}, which its manifest does not name."
        )
    bundle = Bundle(path, digest, manifest)
    if seen is not None and seen == _fingerprint(path, manifest):
        return bundle
    for name, expected in manifest.files.items():
        if file_digest(path / name) != expected:
            raise BundleCorrupt(
                f"The file {name} of the bundle {path} is not the one that was exported: "
                "its SHA-256 differs from the manifest's; copy or export the bundle again."
            )
    return bundle


def verify_bundle(path: Path) -> tuple[Bundle, str]:
    """`open_bundle`, and a fingerprint of the very files that were read, for others to open it by.

    Raises BundleCorrupt too if a file was written to meanwhile.
    """
    _, manifest = _read_manifest(path)
    before = _fingerprint(path, manifest)
    bundle = open_bundle(path)
    if _fingerprint(path, bundle.manifest) != before:
        raise BundleCorrupt(f"The bundle {path} was written to while it was read; try again.")
    return bundle, before


def _fingerprint(path: Path, manifest: Manifest) -> str:
    """Which files a bundle's are and when they were last written to, told without reading them.

    Writing to a file, or putting another in its place, changes its ctime or its inode; what a disk
    loses by itself does not. A file that is absent has none of either.
    """
    lines = [(path / MANIFEST_DIGEST).read_text()]
    for name in sorted(manifest.files):
        try:
            found = (path / name).stat()
        except OSError:
            lines.append(f"{name} is absent")
            continue
        told = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        lines.append(f"{name} {told}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def files_of(folder: Path) -> list[str]:
    """Names of a bundle's files but for its manifest, relative to it, sorted."""
    own = {MANIFEST, MANIFEST_DIGEST} | STORE_FILES
    files = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in files if name not in own)


def file_digest(path: Path) -> FileDigest:
    """SHA-256 and size of a file, read in pieces."""
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileDigest(sha256=sha256, bytes=path.stat().st_size)


def _read_manifest(path: Path) -> tuple[str, Manifest]:
    try:
        text = (path / MANIFEST).read_bytes()
        stated = (path / MANIFEST_DIGEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BundleMissing(
            f"There is no bundle at {path}: {MANIFEST} or {MANIFEST_DIGEST} is absent."
        ) from None
    digest = hashlib.sha256(text).hexdigest()
    if stated != f"{digest}\n".encode():
        raise BundleCorrupt(
            f"The file {MANIFEST} of the bundle {path} does not match {MANIFEST_DIGEST}; "
            "copy or export the bundle again."
        )
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        found = _format_version(text)
        raise BundleIncompatible(
            f"The bundle {path} has format version {found}, and this version of Usher reads "
            f"{FORMAT_VERSION} ({error.errors()[0]['loc']}: {error.errors()[0]['msg']})."
        ) from None
    return digest, manifest


def _format_version(text: bytes) -> object:
    """The version a manifest claims, whatever else it holds."""
    content = json.loads(text)
    return content.get("format_version") if isinstance(content, dict) else None


def _replace(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`, moving an older bundle out of the way first."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        os.rename(target, old / "bundle")
        os.rename(folder, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(folder, target)
