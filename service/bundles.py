"""Which bundle to serve: a folder, a tag in BentoML's model store, or the one a Bento carries.

A pointer file decides, if there is one: `make activate` moves it, and running workers follow. Then
`USHER_MODEL`; without it, a built Bento serves the model that was packed into it, and anything else
the newest model in the store.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException, NotFound

from models.bundle import Bundle, BundleCorrupt, BundleMissing, open_bundle
from service.graph_calls import check_graphs

MODEL_NAME = "usher"
DEFAULT_TAG = f"{MODEL_NAME}:latest"


def find_bundle(
    model: str | None, packed: str | None, pointer: Path | None = None, seen: str | None = None
) -> Bundle:
    """Find and verify a bundle. `packed` is the tag of the model in the Bento, if there is one.

    seen: as `open_bundle` takes it. Raises BundleError: BundleMissing if there is none, else what
    `open_bundle` raises.
    """
    return open_bundle(folder_of(model, packed, pointer), seen)


def folder_of(model: str | None, packed: str | None, pointer: Path | None) -> Path:
    """The folder of the bundle that is meant. Raises BundleMissing or BundleCorrupt."""
    return locate(pointed_at(pointer) or model or packed or DEFAULT_TAG)


def pointed_at(pointer: Path | None) -> str | None:
    """The tag or folder a pointer file names; None without such a file, or an empty one."""
    if pointer is None:
        return None
    try:
        return pointer.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def activate(model: str, pointer: Path) -> Bundle:
    """Verify a model and have the pointer file name it, by one rename; returns the bundle.

    A tag is resolved to the version it means now. Raises BundleError, ModelNotServable; the
    pointer is then as it was.
    """
    folder = locate(model)
    bundle = open_bundle(folder)
    check_graphs(bundle.manifest)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    half = pointer.with_name(f"{pointer.name}.{os.getpid()}.half")
    half.write_text(f"{_lasting_name(model, folder)}\n")
    os.replace(half, pointer)
    return bundle


def _lasting_name(model: str, folder: Path) -> str:
    """A name that means this bundle later too, and to a process in another folder."""
    if os.sep in model or Path(model).is_dir():
        return str(folder.resolve())
    return str(bentoml.models.get(model).tag)


def locate(model: str) -> Path:
    """The folder of a model named by folder or by tag. Raises BundleMissing or BundleCorrupt."""
    if os.sep in model or Path(model).is_dir():
        return Path(model).expanduser()
    try:
        return _in_store(bentoml.Tag.from_taglike(model))
    except (BentoMLException, ValueError):  # absent, or no tag at all
        raise BundleMissing(
            f"There is no model {model} in BentoML's model store, nor a folder of that name: "
            "train one with `make train`, or set USHER_MODEL to a tag or a bundle's folder."
        ) from None


def _in_store(tag: bentoml.Tag) -> Path:
    try:
        return Path(bentoml.models.get(tag).path)
    except NotFound:
        raise
    except Exception:  # BentoML checks little of its model.yaml, and raises whatever that leads to
        raise BundleCorrupt(
            f"BentoML cannot read the model.yaml of {tag} in its model store; copy or export the "
            "bundle again."
        ) from None
