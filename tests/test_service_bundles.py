"""Which bundle is served: a folder, a tag, or a sentence that says there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.bundle import BundleMissing
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
