"""The files of deploy/ as the tools that read them see them.

Compose's variables are filled in; kustomize's resources, images and patches are put together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonpatch
import yaml

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<rest>[^}]*))?\}")

Document = dict[str, Any]


class Unset(Exception):
    """A variable that has to be set is not; the message is what the file says of it."""


def compose(name: str, variables: Mapping[str, str]) -> Document:
    """A Compose file with its variables filled in. Raises Unset."""

    def fill(match: re.Match[str]) -> str:
        value = variables.get(match["name"], "")
        if value or match["kind"] is None:
            return value
        if match["kind"] == "?":
            raise Unset(f"{match['name']}: {match['rest']}")
        return match["rest"]

    parts: Document = yaml.safe_load(VARIABLE.sub(fill, (DEPLOY / name).read_text()))
    return parts


def kustomized(folder: Path) -> list[Document]:
    """What `kubectl apply -k` would send: of kustomize, the part that these files use."""
    said = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert said.keys() <= {"apiVersion", "kind", "namespace", "resources", "images", "patches"}
    documents = [document for name in said["resources"] for document in _read(folder / name)]
    for patch in said.get("patches", ()):
        targets = [
            d
            for d in documents
            if _name_of(d) == (patch["target"]["kind"], patch["target"]["name"])
        ]
        assert len(targets) == 1
        changes = yaml.safe_load((folder / patch["path"]).read_text())
        jsonpatch.apply_patch(targets[0], changes, in_place=True)
    for document in documents:
        for container in containers(document):
            _set_image(container, said.get("images", ()))
        if "namespace" in said and document["kind"] != "Namespace":
            document["metadata"]["namespace"] = said["namespace"]
    return documents


def containers(document: Document) -> list[Document]:
    """The containers of what makes pods; none of anything else."""
    found: list[Document] = pod_of(document).get("containers", [])
    return found


def pod_of(document: Document) -> Document:
    """The specification of the pods a document makes; empty if it makes none."""
    spec: Document = document.get("spec", {}).get("template", {}).get("spec", {})
    return spec


def _read(path: Path) -> Iterator[Document]:
    if path.is_dir():
        yield from kustomized(path)
    else:
        yield from yaml.safe_load_all(path.read_text())


def _name_of(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def _set_image(container: Document, images: list[Document]) -> None:
    name, _, tag = container["image"].partition(":")
    for image in images:
        if image["name"] == name:
            name, tag = image.get("newName", name), image.get("newTag", tag)
    container["image"] = f"{name}:{tag}"
