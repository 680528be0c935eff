"""The ensemble as a network: sums by hand, members left out, one exported graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.histories import Histories
from models.manifest import RatingScale
from models.networks.architecture import Architecture
from models.networks.ensemble import Ensemble, Shares
from models.networks.graphs import FoldInNetwork, RateGraph, Rater
from models.networks.hybrid_vae import HybridVAE
from models.networks.ridge_fold_in import RidgeFoldIn, RidgeUsers
from tests.parity import check_exported, random_histories
from tests.test_ridge_fold_in import weights_of
from training.evaluation.network_predictor import NetworkPredictor, RaterPredictor
from training.export import rate_inputs

ITEMS = 30
SCALE = RatingScale(minimum=1.0, maximum=5.0, step=1.0)
WIDE = (-99.0, 99.0)


def student(seed: int) -> HybridVAE:
    torch.manual_seed(seed)
    architecture = Architecture(n_factors=4, hidden_dims=(8, 6), latent_dim=3)
    network = HybridVAE(architecture, ITEMS, torch.from_numpy(SCALE.levels), 3.5).eval()
    with torch.no_grad():
        for parameter in (network.preference_factors, network.rating_factors, network.rating_bias):
            parameter.normal_(0, 0.5)
        network.log_spread.normal_(0, 0.2)
    return network


def members() -> list[Rater]:
    return [student(1), RidgeFoldIn(weights_of(ITEMS, 5)).eval(), student(2)]


SHARES = Shares(3.4, rating=(0.2, 0.7, 0.15), preference=(0.6, 0.0, 1.9))


def test_answers_are_the_weighted_sums_of_the_members() -> None:
    each, histories = members(), random_histories(ITEMS, SCALE, (0, 1, 20))
    rows, items = np.repeat([0, 1, 2], ITEMS), np.tile(np.arange(ITEMS), 3)
    whole = NetworkPredictor("whole", Ensemble(each, SHARES), WIDE)
    ratings, spreads = whole.rate_with_spread(histories, rows, items)
    alone = [RaterPredictor("one", one, WIDE) for one in each]
    rated = [one.rate_with_spread(histories, rows, items) for one in alone]
    for pair in range(len(rows)):
        of_pair = [(float(r[pair]), float(s[pair])) for r, s in rated]
        deviations = [w * (r - 3.4) for w, (r, _) in zip(SHARES.rating, of_pair, strict=True)]
        assert ratings[pair] == pytest.approx(3.4 + sum(deviations), abs=1e-5)
        spread = sum(w * s for w, (_, s) in zip(SHARES.rating, of_pair, strict=True)) / 1.05
        assert spreads[pair] == pytest.approx(spread, rel=1e-5)
    first, last = (NetworkPredictor("one", student(n), WIDE).score(histories) for n in (1, 2))
    scores = 0.6 * first + 1.9 * last
    np.testing.assert_allclose(whole.score(histories), scores, atol=1e-5)
    with torch.no_grad():
        columns = (histories.items, histories.ratings, histories.offsets, items, rows)
        graph = RateGraph(whole.network, RatingScale(minimum=1, maximum=5, step=1))
        _, _, named = graph(*map(torch.from_numpy, columns))
    np.testing.assert_allclose(named.reshape(3, ITEMS), scores, atol=1e-5)


def test_a_member_without_weight_is_neither_computed_nor_exported(tmp_path: Path) -> None:
    class Unasked(RidgeFoldIn):
        def users_of(
            self, items_N: torch.Tensor, ratings_N: torch.Tensor, offsets: torch.Tensor
        ) -> RidgeUsers:
            raise AssertionError("it has no weight")

    shares = Shares(3.4, rating=(1.0, 0.0), preference=(1.0, 0.0))
    ensemble = Ensemble([student(1), Unasked(weights_of(ITEMS, 5))], shares)
    histories = random_histories(ITEMS, SCALE, (3,))
    zero = np.zeros(1, np.int64)
    alone = NetworkPredictor("one", student(1), WIDE).rate(histories, zero, zero)
    assert NetworkPredictor("two", ensemble, WIDE).rate(histories, zero, zero) == pytest.approx(
        alone, abs=1e-6
    )
    check_exported(ensemble, ITEMS, SCALE, tmp_path)


def test_every_kind_of_member_exports_as_one_graph(tmp_path: Path) -> None:
    ensemble = Ensemble(members(), SHARES).eval()
    assert isinstance(ensemble, FoldInNetwork)
    check_exported(ensemble, ITEMS, SCALE, tmp_path)
    graph = onnx.load(tmp_path / "rate.onnx", load_external_data=False).graph
    inputs = [tensor.name for tensor in graph.input]
    assert inputs == [
        "history_items", "history_ratings", "history_offsets", "target_items", "target_rows",
    ]  # fmt: skip
    assert [tensor.name for tensor in graph.output] == ["ratings", "spreads", "scores"]


def test_a_member_that_only_rates_is_a_graph_without_scores() -> None:
    rate = RateGraph(RidgeFoldIn(weights_of(ITEMS, 5)).eval(), SCALE)
    inputs = rate_inputs(random_histories(ITEMS, SCALE, (3, 0)))
    answered = rate(*(torch.from_numpy(inputs[tensor.name]) for tensor in rate.inputs()))
    assert [tensor.name for tensor in rate.outputs()] == ["ratings", "spreads"]
    assert len(answered) == 2


def test_a_member_that_only_rates_is_no_fold_in_network() -> None:
    assert not isinstance(RidgeFoldIn(weights_of(ITEMS, 5)), FoldInNetwork)
    assert isinstance(student(1), FoldInNetwork)


@pytest.mark.parametrize(
    ("rating", "preference"),
    [
        ((0.0, 0.0), (1.0, 0.0)),
        ((1.0, 0.0), (0.0, 0.0)),
        ((1.0, -0.1), (1.0, 0.0)),
        ((1.0,), (1, 1)),
    ],
)
def test_weights_that_make_no_ensemble_are_refused(
    rating: tuple[float, ...], preference: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="eight"):
        Shares(3.0, rating, preference)


def test_the_batch_a_user_comes_in_changes_nothing() -> None:
    histories = random_histories(ITEMS, SCALE, (5, 0, 40))
    predictor = NetworkPredictor("whole", Ensemble(members(), SHARES), WIDE)
    rows, items = np.repeat([0, 1, 2], ITEMS), np.tile(np.arange(ITEMS), 3)
    together = predictor.rate(histories, rows, items).reshape(3, ITEMS)
    for row in range(3):
        one: Histories = histories.take([row])
        alone = predictor.rate(one, np.zeros(ITEMS, np.int64), np.arange(ITEMS))
        np.testing.assert_allclose(together[row], alone, atol=1e-4)
