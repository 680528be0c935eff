"""The users a report shows: what they are offered, by brute force over the same network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny import tiny_ratings
from training.config import Configuration
from training.evaluation.examples import show_examples
from training.evaluation.network_predictor import NetworkPredictor
from training.evaluation.predictor import Interval
from training.fitting.initial import build_network
from training.ratings import Ratings
from training.split import Split, split_ratings


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return tiny_ratings()


@pytest.fixture(scope="module")
def split(ratings: Ratings) -> Split:
    return split_ratings(ratings, "random", 42)


@pytest.fixture(scope="module")
def predictor(ratings: Ratings, split: Split) -> NetworkPredictor:
    torch.manual_seed(0)
    network = build_network(ratings, split.fit, Configuration(name="tiny")).eval()
    return NetworkPredictor("mine", network, (0.5, 5.0), Interval(0.8, 1.3))


def test_offers_are_the_best_of_what_was_not_seen(
    ratings: Ratings, split: Split, predictor: NetworkPredictor
) -> None:
    fold = split.tests[0]
    visible, hidden = ratings.histories(fold.visible), ratings.histories(fold.hidden)
    examples = show_examples(predictor, ratings, fold, stars=True)
    assert len(examples) == 4
    assert [example.visible for example in examples] == sorted(e.visible for e in examples)
    for example in examples:
        user = ratings.user_ids.tolist().index(example.user_id.encode())
        items, given = visible.of(user)
        scores = predictor.score(visible.take([user]))[0]
        left = sorted(set(range(len(scores))) - set(items.tolist()), key=lambda i: -scores[i])
        assert [offer.item_id for offer in example.offers] == [
            ratings.catalog.ids[item] for item in left[:10]
        ]
        kept_back = dict(zip(*(column.tolist() for column in hidden.of(user)), strict=True))
        assert example.hidden == len(kept_back)
        for item, offer in zip(left, example.offers, strict=False):
            (stars,), (spread,) = predictor.rate_with_spread(
                visible.take([user]), np.array([0]), np.array([item])
            )
            assert offer.predicted == pytest.approx(stars, abs=1e-5)
            assert offer.low == pytest.approx(max(0.5, stars - 1.3 * spread), abs=1e-4)
            assert offer.high == pytest.approx(min(5.0, stars + 1.3 * spread), abs=1e-4)
            assert offer.given == kept_back.get(item)
            assert offer.title == ratings.catalog.titles[item]
        best = sorted(given.tolist(), reverse=True)[:10]
        assert [favourite.rating for favourite in example.favourites] == best
        assert example.mean_rating == pytest.approx(given.mean())


def test_no_stars_are_shown_where_none_are_reported(
    ratings: Ratings, split: Split, predictor: NetworkPredictor
) -> None:
    for example in show_examples(predictor, ratings, split.tests[0], stars=False):
        assert all(offer.predicted is offer.low is offer.high is None for offer in example.offers)
