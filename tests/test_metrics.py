"""The formulas, against hand-computed cases, scikit-learn and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import mean_absolute_error, mean_squared_error, ndcg_score

from models.histories import Histories
from tests.small_ratings import histories_of
from training.evaluation import metrics

STARS = st.floats(0.5, 5.0, width=32)
COARSE_SCORES = st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0])


class TestRatingErrors:
    def test_hand_computed(self) -> None:
        actual, predicted = np.array([1.0, 2.0, 5.0]), np.array([2.0, 2.0, 3.0])
        assert metrics.mse(actual, predicted) == pytest.approx(5 / 3)
        assert metrics.rmse(actual, predicted) == pytest.approx(math.sqrt(5 / 3))
        assert metrics.mae(actual, predicted) == pytest.approx(1.0)

    def test_perfect_and_empty(self) -> None:
        stars, nothing = np.array([1.0, 4.5]), np.zeros(0)
        assert metrics.rmse(stars, stars) == metrics.mse(stars, stars) == 0.0
        for measure in (metrics.mse, metrics.rmse, metrics.mae):
            assert math.isnan(measure(nothing, nothing))

    def test_arrays_of_different_length_are_refused(self) -> None:
        with pytest.raises(ValueError, match="3"):
            metrics.mse(np.zeros(3), np.zeros(1))

    @given(st.lists(st.tuples(STARS, STARS), min_size=1))
    def test_agree_with_scikit_learn(self, pairs: list[tuple[float, float]]) -> None:
        actual, predicted = np.array(pairs, np.float32).T
        assert metrics.mse(actual, predicted) == pytest.approx(
            mean_squared_error(actual.astype(float), predicted.astype(float))
        )
        assert metrics.mae(actual, predicted) == pytest.approx(
            mean_absolute_error(actual.astype(float), predicted.astype(float))
        )

    def test_coverage_counts_the_ends(self) -> None:
        actual = np.array([1.0, 2.0, 3.0, 4.0])
        low, high = np.array([1.0, 2.1, 2.0, 3.0]), np.array([2.0, 3.0, 3.0, 3.9])
        assert metrics.coverage(actual, low, high) == 0.5
        assert math.isnan(metrics.coverage(np.zeros(0), np.zeros(0), np.zeros(0)))


def test_liked_keeps_users_and_drops_low_ratings() -> None:
    histories = histories_of({0: 5.0, 3: 3.5, 4: 4.0}, {}, {1: 1.0}, {2: 4.5})
    liked = metrics.liked(histories, 4.0)
    assert liked.items.tolist() == [0, 4, 2]
    assert liked.offsets.tolist() == [0, 2, 2, 2, 3]


class TestTopItems:
    def test_ties_go_to_the_lower_index_at_the_last_rank_too(self) -> None:
        scores = np.array([[1.0, 3.0, 1.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0, 9.0]])
        assert metrics.top_items(scores, 3).tolist() == [[1, 3, 0], [4, 0, 1]]

    def test_minus_infinity_is_never_ranked(self) -> None:
        scores = np.array([[-np.inf, 2.0, -np.inf, 5.0]])
        assert metrics.top_items(scores, 3).tolist() == [[3, 1, metrics.NO_ITEM]]

    def test_ranks_beyond_the_catalogue_stay_free(self) -> None:
        assert metrics.top_items(np.array([[1.0, 2.0]]), 4).tolist() == [[1, 0, -1, -1]]
        assert metrics.top_items(np.zeros((0, 2)), 4).shape == (0, 4)
        assert metrics.top_items(np.zeros((2, 0)), 1).tolist() == [[-1], [-1]]

    def test_nan_is_refused(self) -> None:
        with pytest.raises(ValueError, match="NaN"):
            metrics.top_items(np.array([[1.0, np.nan]]), 1)

    @given(arrays(np.float32, (3, 9), elements=COARSE_SCORES), st.integers(1, 12))
    def test_agrees_with_sorting(self, scores_BI: NDArray[np.float32], k: int) -> None:
        for scores, ranked in zip(scores_BI, metrics.top_items(scores_BI, k), strict=True):
            order = sorted(range(9), key=lambda item: (-scores[item], item))
            expected = [item for item in order if scores[item] > -math.inf][:k]
            assert ranked.tolist() == expected + [metrics.NO_ITEM] * (k - len(expected))


class TestHits:
    def test_each_user_has_targets_of_their_own(self) -> None:
        targets = histories_of({0: 5.0, 7: 5.0}, {2: 5.0}, {})
        ranked = np.array([[7, 2, 0], [7, 2, 0], [7, 2, 0]])
        assert metrics.hits(ranked, targets).tolist() == [
            [True, False, True],
            [False, True, False],
            [False, False, False],
        ]

    def test_a_free_rank_is_no_hit(self) -> None:
        # Item 9 of user 0 is one key below item 0 of user 1, where a free rank would point.
        targets = histories_of({9: 5.0}, {})
        assert not metrics.hits(np.array([[-1, -1], [-1, -1]]), targets).any()

    def test_no_targets_at_all(self) -> None:
        assert metrics.hits(np.array([[1, 2]]), histories_of({})).tolist() == [[False, False]]


class TestRankingMeasures:
    def test_hand_computed(self) -> None:
        hits, targets = np.array([[True, False, True, False]]), np.array([3])
        ideal = 1 + 1 / math.log2(3) + 1 / 2
        assert metrics.ndcg(hits, targets, 4) == pytest.approx([1.5 / ideal])
        assert metrics.ndcg(hits, targets, 2) == pytest.approx([1 / (1 + 1 / math.log2(3))])
        assert metrics.recall(hits, targets, 4) == pytest.approx([2 / 3])
        assert metrics.recall(hits, targets, 2) == pytest.approx([1 / 2])
        assert metrics.precision(hits, targets, 4) == pytest.approx([2 / 4])

    def test_perfect_no_match_and_no_target(self) -> None:
        hits = np.array([[True, True, False], [False, False, False], [False, False, False]])
        targets = np.array([2, 5, 0])
        for measure in (metrics.ndcg, metrics.recall):
            np.testing.assert_allclose(measure(hits, targets, 3), [1.0, 0.0, np.nan])
        np.testing.assert_allclose(metrics.precision(hits, targets, 3), [2 / 3, 0.0, np.nan])

    def test_a_list_shorter_than_k_counts_as_misses(self) -> None:
        hits, targets = np.array([[True]]), np.array([1])
        assert metrics.precision(hits, targets, 10).tolist() == [0.1]
        assert metrics.ndcg(hits, targets, 10).tolist() == [1.0]

    @given(st.integers(0, 2**32 - 1), st.integers(1, 15))
    def test_ndcg_agrees_with_scikit_learn(self, seed: int, k: int) -> None:
        rng = np.random.default_rng(seed)
        relevance_BI = rng.random((4, 12)) < 0.4
        relevance_BI[:, 0] = True
        scores_BI = rng.permuted(np.tile(np.arange(12.0), (4, 1)), axis=1)
        ranked_BK = metrics.top_items(scores_BI, k)
        hits_BK = metrics.hits(ranked_BK, _targets(relevance_BI))
        found = metrics.ndcg(hits_BK, relevance_BI.sum(1), k)
        for user in range(4):
            expected = ndcg_score(relevance_BI[user : user + 1], scores_BI[user : user + 1], k=k)
            assert found[user] == pytest.approx(expected)

    @given(st.integers(0, 2**32 - 1), st.integers(1, 15))
    def test_recall_and_precision_agree_with_sets(self, seed: int, k: int) -> None:
        rng = np.random.default_rng(seed)
        relevance_BI = rng.random((5, 10)) < 0.3
        ranked_BK = metrics.top_items(rng.random((5, 10)), k)
        hits_BK = metrics.hits(ranked_BK, _targets(relevance_BI))
        recall = metrics.recall(hits_BK, relevance_BI.sum(1), k)
        precision = metrics.precision(hits_BK, relevance_BI.sum(1), k)
        for user in range(5):
            wanted = set(np.flatnonzero(relevance_BI[user]).tolist())
            found = len(wanted & set(ranked_BK[user].tolist()))
            if wanted:
                assert recall[user] == pytest.approx(found / min(k, len(wanted)))
                assert precision[user] == pytest.approx(found / k)
            else:
                assert math.isnan(recall[user]) and math.isnan(precision[user])


class TestBootstrap:
    def test_agrees_with_drawing_each_resample(self) -> None:
        values = np.random.default_rng(0).normal(size=(7, 3))
        drawn = np.random.default_rng(5).integers(0, 7, (20, 7))
        expected = [values[resample].sum(0) for resample in drawn]
        np.testing.assert_allclose(metrics.resampled_sums(values, 5, 20), expected)

    def test_blocks_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = np.random.default_rng(0).normal(size=(11, 2))
        whole = metrics.resampled_sums(values, 3, 50)
        monkeypatch.setattr(metrics, "_BLOCK_CELLS", 30)
        np.testing.assert_allclose(metrics.resampled_sums(values, 3, 50), whole)

    def test_equal_seeds_draw_the_same_users(self) -> None:
        values = np.random.default_rng(0).normal(size=(30, 1))
        first, second = (metrics.resampled_sums(column, 9) for column in (values, values + 2.0))
        np.testing.assert_allclose(second - first, np.full((1000, 1), 60.0))

    def test_interval_of_a_mean_is_the_textbook_one(self) -> None:
        values = np.random.default_rng(1).normal(10.0, 2.0, size=(400, 1))
        means = metrics.resampled_sums(values, 0)[:, 0] / 400
        interval = metrics.percentile_interval(means)
        assert interval is not None
        reach = 1.96 * values.std() / math.sqrt(400)
        assert interval == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.03)

    def test_without_users_or_figures(self) -> None:
        assert metrics.resampled_sums(np.zeros((0, 2)), 0, 5).tolist() == [[0.0, 0.0]] * 5
        assert metrics.percentile_interval(np.array([np.nan, np.nan])) is None


def _targets(relevance_BI: NDArray[np.bool_]) -> Histories:
    return histories_of(*({int(i): 5.0 for i in np.flatnonzero(row)} for row in relevance_BI))
