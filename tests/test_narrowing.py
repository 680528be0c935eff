"""Rating factors in half precision: what moves, what does not, and when they stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.manifest import RatingScale
from models.networks.architecture import Architecture
from models.networks.ensemble import Ensemble, Shares
from models.networks.hybrid_vae import HybridVAE
from models.networks.narrowing import narrowed
from tests.parity import random_histories
from training.export import export_graphs

ITEMS, SCALE = 40, RatingScale(minimum=1.0, maximum=5.0, step=1.0)


def network(seed: int, scale: float = 1.0) -> HybridVAE:
    torch.manual_seed(seed)
    made = HybridVAE(
        Architecture(n_factors=8, hidden_dims=(16,), latent_dim=4),
        ITEMS, torch.from_numpy(SCALE.levels), 3.4,
    ).eval()  # fmt: skip
    with torch.no_grad():
        made.rating_factors.mul_(scale)
    return made


def test_only_predicted_ratings_move_and_by_the_rounding_of_the_factors() -> None:
    fitted = network(1, scale=20)
    narrow = narrowed(fitted)
    assert narrow.rating_factors.dtype == torch.float16
    assert fitted.rating_factors.dtype == torch.float32
    histories = random_histories(ITEMS, SCALE, (3, 0, 9))
    told = (torch.from_numpy(histories.items), torch.from_numpy(histories.ratings),
            torch.from_numpy(histories.offsets))  # fmt: skip
    rows_T, items_T = torch.arange(3).repeat_interleave(ITEMS), torch.arange(ITEMS).repeat(3)
    with torch.inference_mode():
        users, others = fitted.users_of(*told), narrow.users_of(*told)
        assert torch.equal(fitted.logits(users), narrow.logits(others))
        rated_T, _ = fitted.rate(users, rows_T, items_T)
        moved_T, _ = narrow.rate(others, rows_T, items_T)
    rounding_IF = fitted.rating_factors.detach().double().numpy()
    rounding_IF = rounding_IF.astype(np.float16).astype(np.float64) - rounding_IF
    expected_BI = users.rating_BF.double().numpy() @ rounding_IF.T
    assert np.abs(expected_BI).max() > 1e-4
    np.testing.assert_allclose(
        (moved_T - rated_T).numpy().reshape(3, ITEMS), expected_BI, atol=2e-6
    )


@pytest.mark.parametrize("members", [1, 2])
def test_the_graphs_hold_them_narrow_and_say_what_it_moved(tmp_path: Path, members: int) -> None:
    made = [network(seed, scale=5) for seed in range(members)]
    share = (1 / members,) * members
    whole = made[0] if members == 1 else Ensemble(made, Shares(3.4, share, share)).eval()
    parity = export_graphs(
        whole, ITEMS, SCALE, random_histories(ITEMS, SCALE, (5, 20)), tmp_path
    ).parity
    assert 0 < parity.narrowed_by < 1e-3
    for name in ("recommend.onnx", "rate.onnx"):
        kinds = [
            tensor.data_type
            for tensor in onnx.load(tmp_path / name).graph.initializer
            if tensor.name.endswith("rating_factors")
        ]
        assert kinds == [onnx.TensorProto.FLOAT16] * members


def test_factors_whose_rounding_would_be_seen_stay_as_they_are(tmp_path: Path) -> None:
    parity = export_graphs(
        network(1, scale=1000), ITEMS, SCALE, random_histories(ITEMS, SCALE, (5, 20)), tmp_path
    ).parity
    assert parity.narrowed_by == 0
    (kind,) = [
        tensor.data_type
        for tensor in onnx.load(tmp_path / "rate.onnx").graph.initializer
        if tensor.name.endswith("rating_factors")
    ]
    assert kind == onnx.TensorProto.FLOAT
