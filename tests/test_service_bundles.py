"""Which bundle is served: a folder, a tag, or a sentence that says there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import bentoml
import pytest

from models.bundle import BundleCorrupt, BundleMissing
from service.bundles import locate


@pytest.mark.parametrize("model", ["nonsense", "usher:nonsense", "usher:a:b", "a b", "Ü", ":"])
def test_what_is_neither_tag_nor_folder_is_told(model: str) -> None:
    with pytest.raises(BundleMissing, match=f"^There is no model {model} in BentoML's model store"):
        locate(model)


def test_a_folder_needs_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert locate("mine") == Path("mine")
    assert locate(str(tmp_path / "absent")) == tmp_path / "absent"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/mine") == tmp_path / "mine"


@pytest.mark.parametrize(
    "content", ["{broken: [", "name: usher", "[]", "", "name: Ü b\nversion: 1"]
)
def test_a_damaged_model_yaml_is_told(content: str) -> None:
    with bentoml.models.create("damaged:one") as model:
        path = Path(model.path_of("model.yaml"))
    stored = Path(bentoml.models.get("damaged:one").path) / path.name
    try:
        stored.write_text(content)
        with pytest.raises(BundleCorrupt, match=r"model\.yaml of damaged:one"):
            locate("damaged:one")
    finally:
        shutil.rmtree(stored.parent.parent)
