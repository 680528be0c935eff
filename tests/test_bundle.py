"""Bundles: what is written is read, and whatever was touched is refused by name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import bundle as bundles
from models.bundle import (
    Bundle,
    BundleCorrupt,
    BundleError,
    BundleIncompatible,
    BundleMissing,
    UserHistories,
    open_bundle,
    verify_bundle,
)
from models.catalog import Catalog
from models.columns import read_strings, write_strings
from models.folded_titles import FoldedTitles
from models.histories import Histories
from models.manifest import FileDigest, RatingScale
from tests.tiny import tiny_bundle, tiny_ratings
from training.neighbours import item_columns


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def test_a_bundle_holds_the_ratings_it_was_made_from(bundle: Bundle) -> None:
    ratings = tiny_ratings()
    assert list(bundle.catalog.ids) == list(ratings.catalog.ids)
    assert bundle.manifest.data.ratings == len(ratings)
    for user in (0, 7, len(ratings.user_ids) - 1):
        mine = ratings.users == user
        expected = sorted(zip(ratings.items[mine], ratings.values[mine], strict=True))
        found = bundle.users.history_of(ratings.user_ids[user].decode())
        assert list(zip(found.items, found.ratings, strict=True)) == expected


def test_an_unknown_user_has_an_empty_history(bundle: Bundle) -> None:
    for user_id in ("nobody", "", "0", "\u00e9", "9" * 128):
        assert len(bundle.users.history_of(user_id).items) == 0


def test_a_flipped_byte_in_any_file_is_refused_by_name(bundle: Bundle, tmp_path: Path) -> None:
    names = [p.relative_to(bundle.path) for p in bundle.path.rglob("*") if p.is_file()]
    assert len(names) > 10
    for name in names:
        copy = tmp_path / "copy"
        shutil.copytree(bundle.path, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 0x01
        (copy / name).write_bytes(content)
        with pytest.raises(BundleError, match=name.name.replace(".", r"\.")):
            open_bundle(copy)
        shutil.rmtree(copy)


def test_missing_and_extra_files_are_refused_by_name(bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle.path, copy)
    (copy / "surprise.txt").write_text("?")
    with pytest.raises(BundleCorrupt, match=r"surprise\.txt"):
        open_bundle(copy)
    (copy / "surprise.txt").unlink()
    (copy / "weights.bin").unlink()
    with pytest.raises(BundleCorrupt, match=r"weights\.bin"):
        open_bundle(copy)
    with pytest.raises(BundleMissing, match="elsewhere"):
        open_bundle(tmp_path / "elsewhere")


def test_what_was_verified_is_read_again_once_a_file_has_changed(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle.path, copy)
    verified, seen = verify_bundle(copy)
    assert verified.digest == bundle.digest
    with monkeypatch.context() as patched:
        patched.delattr("models.bundle.file_digest")  # nothing is read
        assert open_bundle(copy, seen).digest == bundle.digest
        with pytest.raises(NameError):
            open_bundle(bundle.path, seen)  # the same bytes, but other files
    weights = copy / "weights.bin"
    times = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(BundleCorrupt, match=r"weights\.bin"):
        open_bundle(copy, seen)
    content[-1] ^= 1
    weights.write_bytes(content)
    assert open_bundle(copy, seen).digest == bundle.digest
    weights.unlink()
    with pytest.raises(BundleCorrupt, match=r"lacks the file weights\.bin"):
        open_bundle(copy, seen)


def test_a_file_written_to_while_it_is_verified_is_not_taken_for_verified(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    read, weights = bundles.file_digest, copy / "weights.bin"

    def read_and_spoil(path: Path) -> FileDigest:
        found = read(path)
        if path == weights:
            os.truncate(path, found.bytes - 1)
        return found

    monkeypatch.setattr(bundles, "file_digest", read_and_spoil)
    with pytest.raises(BundleCorrupt, match="was written to while it was read"):
        verify_bundle(copy)


def test_titles_are_stored_as_they_are_searched(bundle: Bundle) -> None:
    told = FoldedTitles.of(bundle.catalog.titles)
    for name, column in vars(bundle.folded_titles).items():
        np.testing.assert_array_equal(column, getattr(told, name))


def test_another_format_version_is_refused_as_such(bundle: Bundle, tmp_path: Path) -> None:
    import hashlib

    copy = tmp_path / "copy"
    shutil.copytree(bundle.path, copy)
    content = json.loads((copy / "manifest.json").read_text()) | {"format_version": 1}
    text = json.dumps(content).encode()
    (copy / "manifest.json").write_bytes(text)
    (copy / "manifest.sha256").write_text(hashlib.sha256(text).hexdigest() + "\n")
    with pytest.raises(
        BundleIncompatible, match="format version 1, and this version of Usher reads 4"
    ):
        open_bundle(copy)


def test_a_bundle_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    from models.bundle import write_bundle

    ratings = tiny_ratings()

    def fail(folder: Path) -> None:
        raise RuntimeError("the export failed")

    users = UserHistories(ratings.user_ids, ratings.histories())
    items = item_columns(torch.eye(120), np.ones(120, np.int32))
    with pytest.raises(RuntimeError, match="the export failed"):
        write_bundle(tmp_path / "bundle", fail, ratings.catalog, items, users)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_both_graphs_share_one_copy_of_the_weights(bundle: Bundle) -> None:
    import onnx

    sizes: dict[str, int] = {}
    offsets = []
    for path in (bundle.recommend_graph, bundle.rate_graph):
        proto = onnx.load(path, load_external_data=False)
        places = [{e.key: e.value for e in t.external_data} for t in proto.graph.initializer]
        large = [place for place in places if place]
        assert {place["location"] for place in large} == {"weights.bin"}
        sizes |= {place["offset"]: int(place["length"]) for place in large}
        offsets.append({place["offset"] for place in large})
    assert len(offsets[1]) >= 4  # encoder, item embedding, rating and preference factors
    assert offsets[1] <= offsets[0]
    stored = (bundle.path / "weights.bin").stat().st_size
    assert sum(sizes.values()) <= stored <= sum(sizes.values()) + 4096 * len(sizes)


def test_rating_scale_lists_its_levels() -> None:
    scale = RatingScale(minimum=0.5, maximum=5, step=0.5)
    assert scale.levels.tolist() == [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]
    assert scale.contains(0.5)
    assert not scale.contains(5.1)


@given(st.lists(st.text(max_size=8), max_size=6))
def test_strings_survive_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("strings")
    write_strings(folder, "x", values)
    kept = read_strings(folder, "x")
    assert (len(kept), list(kept)) == (len(values), values)
    assert [kept[n] for n in range(-len(values), len(values))] == values + values
    assert kept[1:-1] == values[1:-1]
    with pytest.raises(IndexError):
        kept[len(values)]


def test_a_catalogue_survives_a_round_trip(tmp_path: Path) -> None:
    catalog = Catalog(
        ["1", "b-2"], ["Léon (1994)", ""], np.array([1994, 0], np.int16), ["Crime"],
        np.array([[True], [False]]),
    )  # fmt: skip
    catalog.write(tmp_path)
    again = Catalog.read(tmp_path)
    assert (again.ids, list(again.titles)) == (catalog.ids, catalog.titles)
    assert again.years.tolist() == [1994, 0]
    assert again.genres_of(0) == ["Crime"]
    assert again.genres_of(1) == []
    assert again.index_by_id == {"1": 0, "b-2": 1}


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=5), st.data())
def test_take_and_concatenate_agree_with_lists(lists: list[list[int]], data: st.DataObject) -> None:
    parts = [
        Histories(
            np.array(items, np.int64),
            np.arange(len(items), dtype=np.float32),
            np.array([0, len(items)]),
        )
        for items in lists
    ]
    whole = Histories.concatenate(parts)
    chosen = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=6))
    taken = whole.take(chosen)
    assert [taken.of(row)[0].tolist() for row in range(len(taken))] == [lists[c] for c in chosen]
    assert whole.rows.tolist() == [r for r, items in enumerate(lists) for _ in items]
