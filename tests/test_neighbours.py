"""Neighbours against the whole matrix of cosines, and what each network says of its items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.item_columns import ItemColumns
from models.networks.architecture import Architecture, Shallow
from models.networks.conditional_spread import ConditionalSpread, ItemFacts
from models.networks.ensemble import Ensemble, Shares
from models.networks.hybrid_vae import HybridVAE
from tests.tiny import tiny_ratings
from training import neighbours
from training.neighbours import RIDGE, item_columns
from training.split import split_ratings

ITEMS = 30


def cosines_by_hand(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """[I, I]; 0 for a row of zeros."""
    cosines = np.zeros((len(vectors), len(vectors)))
    for i, one in enumerate(vectors):
        for j, other in enumerate(vectors):
            lengths = np.linalg.norm(one) * np.linalg.norm(other)
            cosines[i, j] = one @ other / lengths if lengths else 0.0
    return cosines


@pytest.mark.parametrize("block_entries", [1, 1000, 32_000_000], ids=["rows", "blocks", "whole"])
def test_neighbours_are_those_of_the_whole_matrix(
    block_entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_ENTRIES", block_entries)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(150, 7))
    vectors[3] = 0
    counts = rng.integers(0, 60, 150).astype(np.int32)
    found = item_columns(torch.from_numpy(vectors), counts)
    assert found.neighbours.dtype == np.int32
    assert found.cosines.dtype == np.float32
    assert found.neighbours.shape == found.cosines.shape == (150, 100)
    known = np.sqrt(counts / (counts + RIDGE))
    expected = cosines_by_hand(vectors) * known[:, None] * known
    np.fill_diagonal(expected, -np.inf)
    for item in range(150):
        order = np.argsort(-expected[item], kind="stable")[:100]
        np.testing.assert_allclose(found.cosines[item], expected[item, order], atol=1e-6)
        named = expected[item, found.neighbours[item]]
        np.testing.assert_allclose(named, found.cosines[item], atol=1e-6)
        assert len(set(found.neighbours[item].tolist()) - {item}) == 100


@pytest.mark.parametrize("items", [1, 2, 5])
def test_a_small_catalogue_has_fewer_neighbours(items: int) -> None:
    found = item_columns(torch.eye(items), np.ones(items, np.int32))
    assert found.neighbours.shape == (items, items - 1)


def test_columns_survive_a_round_trip(tmp_path: Path) -> None:
    columns = item_columns(torch.randn(6, 3), np.arange(6, dtype=np.int32))
    columns.write(tmp_path)
    again = ItemColumns.read(tmp_path)
    for name in ("rating_counts", "neighbours", "cosines"):
        np.testing.assert_array_equal(getattr(again, name), getattr(columns, name))
        assert isinstance(getattr(again, name).base, np.memmap)


def student(seed: int, shallow: bool) -> HybridVAE:
    torch.manual_seed(seed)
    architecture = Architecture(
        n_factors=4, hidden_dims=(8,), latent_dim=3, shallow=Shallow(rank=3) if shallow else None
    )
    network = HybridVAE(architecture, ITEMS, torch.arange(1.0, 6.0), 3.5).eval()
    if network.shallow is not None:
        network.shallow.start(torch.randn(ITEMS, 3), torch.randn(ITEMS, 3), torch.ones(5))
    return network


def deep_cosines(network: HybridVAE) -> NDArray[np.float64]:
    factors = network.preference_factors.detach().double().numpy()
    return cosines_by_hand(factors - factors.mean(axis=0))


def cosines_of(network: HybridVAE | Ensemble | ConditionalSpread) -> NDArray[np.float64]:
    vectors = network.item_vectors()
    assert vectors.shape[0] == ITEMS and not vectors.requires_grad
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(ITEMS))
    return cosines_by_hand(vectors.double().numpy())


def test_a_network_says_what_its_preference_head_knows() -> None:
    network = student(0, shallow=False)
    np.testing.assert_allclose(cosines_of(network), deep_cosines(network), atol=1e-5)


def test_what_every_factor_shares_ranks_nothing_and_makes_nothing_alike() -> None:
    network = student(0, shallow=False)
    before = cosines_of(network)
    with torch.no_grad():
        network.preference_factors.add_(torch.tensor([3.0, -2.0, 0.0, 1.0]))
    np.testing.assert_allclose(cosines_of(network), before, atol=1e-4)


def test_the_shallow_path_counts_for_half() -> None:
    network = student(1, shallow=True)
    assert network.shallow is not None
    shallow = cosines_by_hand(network.shallow.out_IR.double().numpy())
    expected = (deep_cosines(network) + shallow) / 2
    np.testing.assert_allclose(cosines_of(network), expected, atol=1e-5)


def test_an_ensembles_cosines_are_its_members_weighted() -> None:
    members = [student(1, shallow=True), student(2, shallow=False), student(3, shallow=False)]
    shares = Shares(3.5, rating=(0.0, 1.0, 0.0), preference=(3.0, 0.0, 1.0))
    expected = 0.75 * cosines_of(members[0]) + 0.25 * cosines_of(members[2])
    ensemble = Ensemble(members, shares)
    np.testing.assert_allclose(cosines_of(ensemble), expected, atol=1e-5)
    facts = ItemFacts(torch.zeros(ITEMS), torch.zeros(ITEMS, 3), 1.0)
    wrapped = ConditionalSpread(ensemble, facts, torch.zeros(8))
    assert torch.equal(wrapped.item_vectors(), ensemble.item_vectors())


def test_a_bundle_counts_the_ratings_its_weights_were_fitted_on(bundle: Bundle) -> None:
    ratings = tiny_ratings()
    fitted = split_ratings(ratings, "random", 42).refit
    counts = np.zeros(len(ratings.catalog), np.int64)
    for item in ratings.items[fitted].tolist():
        counts[item] += 1
    assert bundle.items.rating_counts.tolist() == counts.tolist()
    assert len(fitted) < len(ratings)
    assert bundle.items.neighbours.shape == (120, 100)
