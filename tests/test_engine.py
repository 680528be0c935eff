"""The engine against brute force: a real bundle's graphs, called by hand for one user at a time."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from models.histories import Histories
from models.manifest import Manifest
from service.engine import Engine, Ranking, RankJob, RateJob
from service.errors import ModelNotServable, UnknownGenre
from service.filters import Filters
from service.graph_calls import check_graphs
from service.providers import engine_folder, gpu_kind, options_of
from service.schemas import Selection

NONE = np.zeros(0, np.int64)


def every_score(bundle: Bundle, history: Histories) -> NDArray[np.float32]:
    """float32 [I]: each item's preference score, from a session of the test's own.

    The service asks for 100 at most of the tiny bundle's 120 items; here it is asked for all.
    """
    session = ort.InferenceSession(str(bundle.recommend_graph), providers=["CPUExecutionProvider"])
    count = len(bundle.catalog)
    scores = np.full(count, np.nan, np.float32)
    feed = {
        "history_items": history.items,
        "history_ratings": history.ratings,
        "history_offsets": history.offsets,
        "excluded_items": NONE,
        "excluded_offsets": np.zeros(2, np.int64),
        "allowed": np.ones(count, np.bool_),
        "k": np.array(count, np.int64),
    }
    items, found = session.run(["items", "scores"], feed)
    scores[items[0]] = found[0]
    assert np.isfinite(scores).all()
    return scores


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(genre=("Comedy",)),
        Selection(genre=("Drama", "Action"), year_min=1990),
        Selection(year_min=1980, year_max=1999),
    ],
    ids=["everything", "comedy", "drama or action since 1990", "1980 to 1999"],
)
def test_the_ranking_is_that_of_brute_force(
    bundle: Bundle, engine: Engine, selection: Selection
) -> None:
    filters = Filters(bundle.catalog)
    excluded = np.array([3, 7, 50], np.int64)
    rows = [0, 1, 17]
    jobs = [
        RankJob(bundle.users.histories.take([row]), excluded, filters.of(selection), k)
        for row, k in zip(rows, (100, 1, 10), strict=True)
    ]
    for job, ranking in zip(jobs, engine.rank(jobs), strict=True):
        scores = every_score(bundle, job.history)
        allowed = _allowed_by_hand(bundle, selection) & ~np.isin(np.arange(len(scores)), excluded)
        best = sorted(np.flatnonzero(allowed).tolist(), key=lambda item: -scores[item])
        assert ranking.items.tolist() == best[: job.k]
        np.testing.assert_allclose(ranking.scores, scores[ranking.items], atol=1e-5)
        assert (ranking.spreads > 0).all()


def _allowed_by_hand(bundle: Bundle, selection: Selection) -> NDArray[np.bool_]:
    catalog = bundle.catalog
    allowed = []
    for index in range(len(catalog)):
        year = int(catalog.years[index])
        fits = not selection.genre or set(selection.genre) & set(catalog.genres_of(index))
        after = selection.year_min is None or year >= selection.year_min
        before = selection.year_max is None or 0 < year <= selection.year_max
        allowed.append(bool(fits) and after and before)
    return np.array(allowed)


def test_a_filter_may_leave_nothing(bundle: Bundle, engine: Engine) -> None:
    nothing = Filters(bundle.catalog).of(Selection(year_min=9000))
    (ranking,) = engine.rank([RankJob(Histories.empty(1), NONE, nothing, 10)])
    assert len(ranking.items) == len(ranking.scores) == 0


def test_an_item_of_unknown_year_passes_no_filter_on_years(bundle: Bundle) -> None:
    catalog = replace(bundle.catalog, years=np.zeros(len(bundle.catalog), np.int16))
    assert not Filters(catalog).of(Selection(year_max=2030)).allowed.any()
    assert Filters(catalog).of(Selection()).allowed.all()


def test_an_unknown_genre_is_refused_with_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(UnknownGenre) as refusal:
        Filters(bundle.catalog).of(Selection(genre=("Comedy", "Knitting")))
    assert "Knitting" in refusal.value.detail
    assert all(name in refusal.value.detail for name in bundle.catalog.genre_names)


def test_jobs_of_one_batch_do_not_see_each_other(bundle: Bundle, engine: Engine) -> None:
    filters = Filters(bundle.catalog)
    histories = [bundle.users.histories.take([row]) for row in (0, 5, 9)] + [Histories.empty(1)]
    chosen = [Selection(), Selection(genre=("Drama",)), Selection(), Selection(year_min=1990)]
    jobs = [
        RankJob(history, history.items, filters.of(selection), 20)
        for history, selection in zip(histories, chosen, strict=True)
    ]
    for job, together in zip(jobs, engine.rank(jobs), strict=True):
        (alone,) = engine.rank([job])
        assert together.items.tolist() == alone.items.tolist()
        np.testing.assert_allclose(together.ratings, alone.ratings, atol=1e-3)
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-3)


def test_who_asks_for_much_does_not_make_others_pay(bundle: Bundle) -> None:
    runs: list[list[int]] = []

    class Watched(Engine):
        def _rank_alike(self, jobs: Sequence[RankJob]) -> list[Ranking]:
            runs.append([job.k for job in jobs])
            return super()._rank_alike(jobs)

    everything = Filters(bundle.catalog).of(Selection())
    asked = [10, 100, 1, 20, 21]
    jobs = [RankJob(Histories.empty(1), NONE, everything, k) for k in asked]
    rankings = Watched(bundle).rank(jobs)
    assert sorted(runs) == [[10, 1, 20], [100, 21]]
    assert [len(ranking.items) for ranking in rankings] == asked
    best = rankings[1].items.tolist()
    assert all(r.items.tolist() == best[:k] for r, k in zip(rankings, asked, strict=True))


def test_rated_items_get_the_ranking_graphs_ratings(bundle: Bundle, engine: Engine) -> None:
    history = bundle.users.histories.take([4])
    everything = Filters(bundle.catalog).of(Selection())
    (ranking,) = engine.rank([RankJob(history, NONE, everything, 100)])
    (estimates,) = engine.rate([RateJob(history, ranking.items)])
    np.testing.assert_allclose(estimates.ratings, ranking.ratings, atol=1e-3)
    np.testing.assert_allclose(estimates.spreads, ranking.spreads, atol=1e-3)
    np.testing.assert_allclose(estimates.scores, ranking.scores, atol=1e-3)


def test_the_engine_tells_what_it_really_runs_on(bundle: Bundle, engine: Engine) -> None:
    assert engine.providers == ("cpu",)
    assert engine.as_allowed


@pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA"
)
def test_a_provider_that_is_not_there_is_no_silent_cpu(bundle: Bundle) -> None:
    with pytest.raises(ModelNotServable, match=r"none of the providers cuda; it has"):
        Engine(bundle, ("cuda",))
    fallen_back = Engine(bundle, ("cuda", "cpu"))
    assert fallen_back.providers == ("cpu",)
    assert fallen_back.as_allowed


def test_engines_are_kept_by_gpu_versions_and_bundle(tmp_path: Path) -> None:
    gpu = "NVIDIA H100 80GB HBM3 sm90 driver 550.54.15"
    folder = engine_folder(tmp_path, "ab" * 32, gpu)
    assert folder.parent == tmp_path
    assert folder.name == (
        f"nvidia-h100-80gb-hbm3-sm90-driver-550.54.15-onnxruntime-{ort.__version__}-{'ab' * 8}"
    )
    others = (engine_folder(tmp_path, "cd" * 32, gpu), engine_folder(tmp_path, "ab" * 32, None))
    assert len({folder, *others}) == 3
    tensorrt = options_of("TensorrtExecutionProvider", folder)
    assert tensorrt["trt_engine_cache_enable"] == "1"
    assert tensorrt["trt_engine_cache_path"] == str(folder)
    assert options_of("TensorrtExecutionProvider", None) == {}
    assert options_of("CPUExecutionProvider", folder) == {}


def test_a_cache_of_engines_is_no_obstacle_where_there_is_no_gpu(
    bundle: Bundle, tmp_path: Path
) -> None:
    assert Engine(bundle, ("tensorrt", "cpu"), tmp_path / "engines").as_allowed
    (folder,) = (tmp_path / "engines").iterdir()
    assert folder == engine_folder(tmp_path / "engines", bundle.digest, gpu_kind())
    assert Engine(bundle, ("cpu",), tmp_path / "unused").as_allowed
    assert not (tmp_path / "unused").exists()


def test_graphs_of_another_kind_are_refused(bundle: Bundle) -> None:
    swapped = bundle.manifest.model_copy(update={"rate": bundle.manifest.recommend})
    assert isinstance(swapped, Manifest)
    with pytest.raises(ModelNotServable, match=r"recommend\.onnx takes .*'target_items'"):
        check_graphs(swapped)


def test_a_graph_onnxruntime_cannot_load_is_told_in_one_sentence(
    bundle: Bundle, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    (copy / bundle.manifest.rate.file).write_bytes(b"no graph")
    broken = Bundle(copy, bundle.digest, bundle.manifest)
    with pytest.raises(ModelNotServable, match=r"cannot load .*rate\.onnx") as refusal:
        Engine(broken)
    assert "\n" not in str(refusal.value)
