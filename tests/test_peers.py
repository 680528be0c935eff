"""Peers: what passes between processes, whose answers are for whom, what is fitted on what."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.histories import Histories
from tests.small_ratings import halves, random_ratings
from training.baselines import fit_bias, fit_popularity
from training.errors import TrainingError
from training.evaluation.evaluate import evaluate
from training.peers.asking import Answered, Fit, Peer, ask
from training.peers.environment import ROOT, is_installed, last_line, run_peer
from training.peers.exchange import (
    Answer,
    Question,
    Reply,
    Task,
    read_reply,
    read_task,
    write_reply,
    write_task,
)
from training.peers.multvae import (
    MultVAENetwork,
    MultVAESettings,
    choose_multvae,
    refit_multvae,
)
from training.ratings import Ratings
from training.split import Fold, split_ratings

ENVIRONMENTS = ROOT / ".usher" / "peers"
SMALL = MultVAESettings(
    hidden=32, latent=8, batch_users=20, max_epochs=8, annealing_epochs=4, patience=8
)


def requires(peer: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not is_installed(peer, ENVIRONMENTS),
        reason=f"the environment of {peer} is not there: make accuracy ONLY=ml-100k:{peer}",
    )


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(120, 50, 0.4, seed=5)


@pytest.fixture(scope="module")
def fold(ratings: Ratings) -> Fold:
    return Fold("test", *halves(len(ratings), seed=2))


def equal(one: Any, other: Any) -> bool:
    """Whether two records hold the same, arrays and all."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if hasattr(one, "__dataclass_fields__"):
        return all(equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return bool(one == other)


def task_of(*questions: Question) -> Task:
    return Task(
        3, 4, 0.5, 5.0, 4.0, 7, {"rank": 2, "rate": 0.1},
        np.array([0, 2]), np.array([3, 1]), np.array([4.5, 0.5], np.float32), questions,
    )  # fmt: skip


def question_of(*users: int) -> Question:
    visible = Histories.from_columns(
        np.arange(len(users)), np.array(users), np.ones(len(users)), len(users)
    )
    return Question(np.array(users), visible, np.arange(len(users)), np.array(users) + 1)


# What passes between processes


@pytest.mark.parametrize("task", [task_of(), task_of(question_of(0, 2), question_of(1))])
def test_a_task_arrives_as_it_was_sent(tmp_path: Path, task: Task) -> None:
    write_task(tmp_path, task)
    assert equal(read_task(tmp_path), task)
    assert [path.name for path in tmp_path.iterdir()] == ["task.npz"]


def test_a_reply_arrives_as_it_was_sent(tmp_path: Path) -> None:
    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    reply = Reply((Answer(np.ones(4, np.float32), None), Answer(None, scores), Answer()), 1.5)
    write_reply(tmp_path, reply)
    assert equal(read_reply(tmp_path), reply)


# Whose answers are taken for whom


def test_answers_go_to_the_users_they_were_given_for() -> None:
    users = np.array([3, 5, 9])
    pairs = np.array([0, 0, 1, 2, 2, 2]), np.array([4, 1, 4, 0, 7, 3])
    given = np.arange(6, dtype=np.float32)
    scores = np.arange(24, dtype=np.float32).reshape(3, 8)
    question = Question(users, Histories.empty(3), *pairs)
    answered = Answered("peer", question, Answer(given, scores), item_count=8)
    of_pair = {(users[r], i): v for r, i, v in zip(*pairs, given, strict=True)}
    batch = np.array([9, 3])
    rows, items = np.array([0, 1, 1, 0]), np.array([3, 1, 4, 0])
    rated = answered.for_users(batch).rate(Histories.empty(2), rows, items)
    assert rated is not None
    assert rated.tolist() == [of_pair[batch[r], i] for r, i in zip(rows, items, strict=True)]
    scored = answered.for_users(batch).score(Histories.empty(2))
    assert scored is not None
    assert scored.tolist() == scores[[2, 0]].tolist()
    with pytest.raises(KeyError, match="pairs"):
        answered.for_users(batch).rate(Histories.empty(2), np.array([0]), np.array([4]))
    with pytest.raises(KeyError, match="users"):
        answered.for_users(np.array([4])).score(Histories.empty(1))


def test_a_peer_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    if not is_installed("ials", ENVIRONMENTS):
        pytest.skip("the environment of ials is not there: make accuracy ONLY=ml-100k:ials")
    write_task(tmp_path, task_of())  # settings that implicit does not have
    with pytest.raises(TrainingError, match="ials failed: TypeError") as failure:
        run_peer("ials", tmp_path, ENVIRONMENTS)
    assert "\n" not in str(failure.value)


def test_the_last_line_is_the_last_that_says_something() -> None:
    assert last_line("Traceback\n  File\nValueError: no\n\n  \n") == "ValueError: no"
    assert last_line("") == "it said nothing"


# The peers themselves


def rmse_of(answered: Any, ratings: Ratings, fold: Fold) -> float:
    scores = evaluate(answered, ratings, fold, liked_from=4.0, seed=0, ranking=False)
    assert scores.rmse is not None
    return scores.rmse


@pytest.mark.parametrize(
    ("peer", "settings"),
    [
        pytest.param(
            "svdpp", {"n_factors": 4, "n_epochs": 60, "lr_all": 0.01, "reg_all": 0.05},
            marks=requires("svdpp"),
        ),
        pytest.param("myfm", {"rank": 3, "draws": 60}, marks=requires("myfm")),
    ],
)  # fmt: skip
def test_rating_peers_find_the_taste_that_biases_miss(
    peer: str, settings: dict[str, Any], ratings: Ratings, fold: Fold
) -> None:
    fit = Fit(ratings, fold.visible, settings, 1, 4.0)
    asked = ask(Peer(peer, knows_histories=False), fit, [fold], ENVIRONMENTS)
    bias = rmse_of(fit_bias(ratings, fold.visible), ratings, fold)
    assert rmse_of(asked.predictors[0], ratings, fold) < bias - 0.1
    assert asked.fit_seconds > 0
    assert asked.predictors[0].answer.scores is None


@requires("svdpp")
def test_a_peer_that_knows_users_is_fitted_on_what_a_fold_shows_of_them(ratings: Ratings) -> None:
    split = split_ratings(ratings, "users", 42)
    settings = {"n_factors": 4, "n_epochs": 60, "lr_all": 0.01, "reg_all": 0.05}
    peer = Peer("svdpp", knows_histories=False)
    asked = ask(peer, Fit(ratings, split.fit, settings, 1, 4.0), split.tests, ENVIRONMENTS)
    nobody = fit_bias(ratings, split.fit)
    for predictor, test in zip(asked.predictors, split.tests, strict=True):
        blind = Fold("blind", np.zeros(0, np.int64), test.hidden)
        assert rmse_of(predictor, ratings, test) < rmse_of(nobody, ratings, blind)


def weighted_least_squares(
    likes_I: NDArray[np.bool_], factors_IF: NDArray[Any], alpha: float, penalty: float
) -> NDArray[Any]:
    """A user's factors by the normal equations of Hu et al., weight alpha on likes, 1 elsewhere."""
    weights_I = np.where(likes_I, alpha, 1.0)
    gram_FF = (factors_IF * weights_I[:, None]).T @ factors_IF
    right_F = (factors_IF * weights_I[:, None]).T @ likes_I
    return np.asarray(np.linalg.solve(gram_FF + penalty * np.eye(factors_IF.shape[1]), right_F))


@requires("ials")
def test_ials_is_the_fixed_point_of_its_normal_equations(ratings: Ratings, fold: Fold) -> None:
    settings = {"factors": 3, "regularization": 1.0, "alpha": 5.0, "iterations": 200}
    fit = Fit(ratings, fold.visible, settings, 1, 4.0)
    (answered,) = ask(Peer("ials", knows_histories=True), fit, [fold], ENVIRONMENTS).predictors
    scores_BI = answered.answer.scores
    assert scores_BI is not None
    visible = answered.question.visible
    liked_BI = np.zeros(scores_BI.shape, np.bool_)
    liked = visible.ratings >= 4
    liked_BI[visible.rows[liked], visible.items[liked]] = True
    # At rest, equal penalties make both sides weigh the same, so the balanced factorisation of the
    # scores is theirs but for a rotation, and alternating once more from it moves nothing.
    left, values, _ = np.linalg.svd(scores_BI, full_matrices=False)
    users_BF = left[:, :3] * np.sqrt(values[:3])
    items_again = np.stack(
        [weighted_least_squares(liked_BI[:, i], users_BF, 5.0, 1.0) for i in range(50)]
    )
    users_again = np.stack(
        [weighted_least_squares(liked_BI[b], items_again, 5.0, 1.0) for b in range(len(liked_BI))]
    )
    assert np.abs(users_again @ items_again.T - scores_BI).max() < 0.02
    popular = fit_popularity(ratings, fold.visible, liked_from=4.0)
    ndcg = [
        evaluate(p, ratings, fold, liked_from=4.0, seed=0).ndcg_100 or 0
        for p in (answered, popular)
    ]
    assert ndcg[0] > ndcg[1]


# Mult-VAE


def test_kl_of_multvae_is_that_of_two_gaussians() -> None:
    torch.manual_seed(0)
    network = MultVAENetwork(10, SMALL).eval()
    likes_BI = (torch.rand(6, 10) < 0.4).float()
    _, kl_B = network(likes_BI)
    unit_BI = likes_BI / likes_BI.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12)
    mean_BZ, log_variance_BZ = network.encode(unit_BI).chunk(2, dim=1)
    posterior = torch.distributions.Normal(mean_BZ, (0.5 * log_variance_BZ).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, 1))
    assert torch.allclose(kl_B, expected.sum(1), atol=1e-5)


def test_multvae_keeps_its_best_epoch_and_the_refit_repeats_as_many(
    ratings: Ratings, fold: Fold
) -> None:
    options = {"liked_from": 4.0, "seed": 3, "settings": SMALL}
    chosen = choose_multvae(ratings, fold.visible, fold, **options)  # type: ignore[arg-type]
    again = choose_multvae(ratings, fold.visible, fold, **options)  # type: ignore[arg-type]
    histories = ratings.histories(fold.visible)
    assert np.array_equal(chosen.score(histories), again.score(histories))
    assert 1 <= chosen.epoch <= SMALL.max_epochs
    refitted = refit_multvae(chosen, ratings, fold.visible, seed=3, settings=SMALL)
    assert refitted.epoch == chosen.epoch
    assert np.allclose(refitted.score(histories), chosen.score(histories), atol=1e-5)


def test_multvae_ranks_by_taste() -> None:
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((100, 40)) < 0.5)
    liked = (users % 2) == (items % 2)  # two camps
    ratings = random_ratings(101, 41, 0.1, seed=0)
    ratings = Ratings(
        users.astype(np.int32), items.astype(np.int32), np.where(liked, 5, 1).astype(np.float32),
        None, ratings.user_ids, ratings.catalog, ratings.scale, ratings.origin,
    )  # fmt: skip
    fold = Fold("test", *halves(len(ratings), seed=1))
    quick = SMALL.model_copy(update={"learning_rate": 0.02})
    model = choose_multvae(ratings, fold.visible, fold, liked_from=4.0, seed=1, settings=quick)
    scores_UI = model.score(ratings.histories(fold.visible))
    same = (np.arange(100)[:, None] % 2) == (np.arange(40) % 2)
    camps = scores_UI[:100, :40]
    assert camps[same].mean() > camps[~same].mean() + 1
