"""Which bundle to serve: a folder, a tag in BentoML's model store, or the one a Bento carries.

`USHER_MODEL` decides; without it, a built Bento serves the model that was packed into it, and
anything else the newest model in the store.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException, NotFound

from models.bundle import Bundle, BundleCorrupt, BundleMissing, open_bundle

MODEL_NAME = "usher"
DEFAULT_TAG = f"{MODEL_NAME}:latest"


def find_bundle(model: str | None, packed: str | None) -> Bundle:
    """Find and verify a bundle. `packed` is the tag of the model in the Bento, if there is one.

    Raises BundleError: BundleMissing if there is none, else what `open_bundle` raises.
    """
    return open_bundle(locate(model or packed or DEFAULT_TAG))


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
