"""Selection on int8 against selection in float32 and brute force, on tables with a spectrum."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.bundle import Bundle
from models.manifest import GraphSpec, TensorSpec
from models.networks.architecture import Architecture, Shallow
from models.networks.selectors import (
    LARGEST_CODE,
    ExactSelector,
    Exclusions,
    PreferenceTable,
    Selector,
    TwoStageSelector,
    candidates_for,
)
from service.engine import Engine, Ranking, RankJob
from service.filters import Filters
from service.schemas import Selection
from tests.benchmarks.serving import selection
from tests.tiny import tiny_bundle
from training import export
from training.config import load_configuration
from training.evaluation.predictor import GAUSSIAN_80
from training.export import same_ranking
from training.fitting.trainer import choose
from training.onnx_files import cpu_session, share_weights, trace
from training.publish import Figures, publish
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings

ITEMS, DIMENSIONS, USERS = 20_011, 60, 64
OUTPUTS = (
    TensorSpec(name="scores", dtype="float32", shape=("users", "k")),
    TensorSpec(name="items", dtype="int64", shape=("users", "k")),
)
Feed = dict[str, NDArray[np.generic]]


def inputs(items: int, dimensions: int) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec(name="preference", dtype="float32", shape=("users", dimensions)),
        TensorSpec(name="allowed", dtype="bool", shape=(items,)),
        TensorSpec(name="excluded_rows", dtype="int64", shape=("excluded",)),
        TensorSpec(name="excluded_items", dtype="int64", shape=("excluded",)),
        TensorSpec(name="k", dtype="int64", shape=()),
    )


class Alone(nn.Module):
    """A selector as a graph of its own."""

    def __init__(self, selector: Selector) -> None:
        super().__init__()
        self.selector = selector

    def forward(
        self, preference: Tensor, allowed: Tensor, rows: Tensor, items: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor]:
        places = cast("int", k.item())
        torch._check(places >= 1)
        torch._check(places <= len(allowed))
        return self.selector(preference, allowed, Exclusions(rows, items), places)


def scene(
    items: int = ITEMS, dimensions: int = DIMENSIONS, users: int = USERS
) -> tuple[PreferenceTable, NDArray[np.float32]]:
    """Factors of falling importance and an uneven mean, popularity as bias; users to match."""
    rng = np.random.default_rng(0)
    spectrum = 1 / np.sqrt(1 + np.arange(dimensions))
    factors = (rng.normal(0, 1, (items, dimensions)) + rng.normal(0, 2, dimensions)) * spectrum
    bias = np.log(rng.pareto(1.0, items) + 1e-3) - 7
    vectors = rng.normal(0, 1, (users, dimensions)) * np.sqrt(spectrum)
    tables = torch.from_numpy(factors).float(), torch.from_numpy(bias).float()
    return PreferenceTable(*tables), vectors.astype(np.float32)


def feed(users: NDArray[np.float32], k: int, items: int = ITEMS) -> Feed:
    return {
        "preference": users,
        "allowed": np.ones(items, np.bool_),
        "excluded_rows": np.zeros(0, np.int64),
        "excluded_items": np.zeros(0, np.int64),
        "k": np.array(k, np.int64),
    }


def listed(ranking: Ranking) -> list[NDArray[Any]]:
    """As a graph answers; items closer than float32 tells may change places."""
    return [ranking.items[None], ranking.scores[None]]


def brute_force(table: PreferenceTable, asked: Feed, row: int) -> list[int]:
    """The best items of one user, by float64."""
    factors, bias = (part.double().numpy() for part in table)
    scores = factors @ asked["preference"][row].astype(np.float64) + bias
    closed = np.logical_not(asked["allowed"])
    gone = asked["excluded_items"][asked["excluded_rows"] == row]
    scores[closed] = scores[gone] = -np.inf
    best = np.argsort(-scores)[: int(asked["k"])]
    return [int(item) for item in best if np.isfinite(scores[item])]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, onnxruntime.InferenceSession]:
    table, users = scene()
    folder = tmp_path_factory.mktemp("selectors")
    tracing = feed(users[:3], 7) | {
        "excluded_rows": np.array([0, 2]), "excluded_items": np.array([5, 9])
    }  # fmt: skip
    found = {}
    for name, selector in (
        ("exact", ExactSelector(table)),
        ("int8", TwoStageSelector(table, 100)),
    ):
        path = folder / name / "graph.onnx"
        path.parent.mkdir()
        spec = GraphSpec(file=path.name, inputs=inputs(ITEMS, DIMENSIONS), outputs=OUTPUTS)
        share_weights([(trace(Alone(selector).eval(), spec, tracing), path)])
        found[name] = cpu_session(path)
    return found


@pytest.mark.parametrize("name", ["exact", "int8"])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_the_selection_is_that_of_brute_force(
    sessions: dict[str, onnxruntime.InferenceSession], name: str, k: int
) -> None:
    table, users = scene()
    rng = np.random.default_rng(1)
    asked = feed(users, k)
    asked["allowed"] = rng.random(ITEMS) < 0.9
    # The best of some users are gone: those that the first stage would choose first.
    rows = np.repeat(np.arange(0, USERS, 2), k)
    best = np.concatenate([brute_force(table, asked, row) for row in range(0, USERS, 2)])
    asked |= {"excluded_rows": rows, "excluded_items": best}
    scores, items = sessions[name].run(None, asked)
    for row in range(USERS):
        expected = brute_force(table, asked, row)
        assert items[row].tolist() == expected
        exact = table.factors_ID[expected] @ torch.from_numpy(users[row]) + table.bias_I[expected]
        np.testing.assert_allclose(scores[row], exact.numpy(), atol=1e-4)


def test_the_selection_of_a_large_catalogue_is_that_of_float32(tmp_path: Path) -> None:
    table, users = scene(items=87_585, dimensions=150, users=256)
    path = tmp_path / "graph.onnx"
    spec = GraphSpec(file=path.name, inputs=inputs(87_585, 150), outputs=OUTPUTS)
    graph = Alone(TwoStageSelector(table, 100)).eval()
    share_weights([(trace(graph, spec, feed(users[:3], 7, 87_585)), path)])
    session = cpu_session(path)
    exact = users.astype(np.float64) @ table.factors_ID.double().numpy().T + table.bias_I.numpy()
    for k in (10, 100):
        _, items = session.run(None, feed(users, k, 87_585))
        expected = np.argsort(-exact, axis=1)[:, :k]
        assert (items == expected).mean() > 0.999  # but for ties in float32
        assert all(set(one) == set(other) for one, other in zip(items, expected, strict=True))


def test_the_selection_of_a_fitted_model_is_that_of_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TWO_STAGES_FROM", 5000)
    ratings = load_ratings("synthetic:users=300,items=5200,ratings=30000,seed=3", SourceSettings())
    split = split_ratings(ratings, "random", 42)
    architecture = Architecture(
        n_factors=32, hidden_dims=(64,), latent_dim=16, shallow=Shallow(rank=60, lambda_=50.0)
    )
    base = load_configuration("proven")
    training = base.training.model_copy(update={"batch_users": 32, "max_epochs": 6})
    configuration = base.model_copy(update={"network": architecture, "training": training})
    fitted = choose(
        ratings, split.fit, split.validation, configuration, tmp_path / "run",
        lambda text: None, progress=False,
    )  # fmt: skip
    figures, target = Figures({"rmse": 1.0}, {}), tmp_path / "bundle"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of torch
        bundle = publish(
            fitted.network, ratings, split, configuration, figures, GAUSSIAN_80, "fitted", target
        )
    found = selection.compare(bundle, users=300)
    assert found["users"] == 300
    assert found["same_top_10"] == found["same_top_100"] == 1


@pytest.mark.parametrize("name", ["exact", "int8"])
def test_a_filter_that_leaves_few_leaves_the_rest_open(
    sessions: dict[str, onnxruntime.InferenceSession], name: str
) -> None:
    table, users = scene()
    asked = feed(users[:2], 10)
    asked["allowed"] = np.isin(np.arange(ITEMS), [4, 17, ITEMS - 1])
    asked |= {"excluded_rows": np.array([1]), "excluded_items": np.array([17])}
    scores, items = sessions[name].run(None, asked)
    for row, left in enumerate((3, 2)):
        assert items[row, :left].tolist() == brute_force(table, asked, row)
        assert np.isneginf(scores[row, left:]).all()
        assert ((items[row] >= 0) & (items[row] < ITEMS)).all()


def test_an_int8_answer_does_not_depend_on_whom_it_is_computed_with(
    sessions: dict[str, onnxruntime.InferenceSession],
) -> None:
    _, users = scene()
    loud = users.copy()
    loud[1:] *= 1000  # a step common to the batch would leave the first user nothing
    _, alone = sessions["int8"].run(None, feed(users[:1], 100))
    _, together = sessions["int8"].run(None, feed(loud, 100))
    assert together[0].tolist() == alone[0].tolist()


def test_codes_leave_room_for_two_products_in_16_bits() -> None:
    table, _ = scene()
    codes = TwoStageSelector(table, 100).codes_AP.to(torch.int32)
    assert int(codes.abs().max()) == LARGEST_CODE
    assert 2 * 255 * LARGEST_CODE < 2**15


def test_a_table_too_small_for_the_candidates_is_refused() -> None:
    few = candidates_for(100) - 1
    with pytest.raises(ValueError, match=f"{few} items are too few"):
        TwoStageSelector(PreferenceTable(torch.zeros(few, 3), torch.zeros(few)), 100)
    enough = PreferenceTable(torch.randn(few + 1, 3), torch.zeros(few + 1))
    assert TwoStageSelector(enough, 100).block == 1


def test_tables_that_know_nothing_yield_finite_codes() -> None:
    selector = TwoStageSelector(PreferenceTable(torch.zeros(900, 3), torch.zeros(900)), 100)
    assert not selector.codes_AP.any()
    assert torch.isfinite(selector.turned_AA).all()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "TWO_STAGES_FROM", 4000)
        return tiny_bundle(tmp_path_factory.mktemp("large") / "b", users=300, items=4000)


def test_the_service_selects_on_int8_where_the_bundle_can(large: Bundle, bundle: Bundle) -> None:
    assert bundle.recommend_int8_graph is None
    int8 = large.recommend_int8_graph
    assert int8 is not None
    assert large.manifest.parity_int8 is not None
    assert large.manifest.parity_int8.identical_top_k == 1
    everything = Filters(large.catalog).of(Selection())
    histories = [large.users.histories.take([row]) for row in range(len(large.users))]
    jobs = [RankJob(history, history.items, everything, 100) for history in histories]
    fast = Engine(large).rank(jobs)
    manifest = large.manifest.model_copy(update={"recommend_int8": None})
    exact = Engine(Bundle(large.path, large.digest, manifest)).rank(jobs)
    for one, other in zip(fast, exact, strict=True):
        assert same_ranking(listed(one), listed(other)).all()
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    moved = Path(int8).rename(int8.with_suffix(".away"))
    try:  # it is this graph that answers, so without it there is no engine
        with pytest.raises(Exception, match="recommend-int8"):
            Engine(large)
    finally:
        moved.rename(int8)
