"""Teachers: their ratings, their compression, and a student that learns from one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.networks.architecture import Architecture
from models.networks.hybrid_vae import HybridVAE
from models.networks.loss import Counts, Lessons, preference_lesson, rating_lesson
from training.baselines import fit_bias, fit_ease
from training.config import Configuration, Optimisation, Teaching
from training.errors import TrainingError
from training.fitting.batches import DenoisingBatches
from training.fitting.initial import build_network
from training.fitting.trainer import choose
from training.peers.environment import is_installed
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings
from training.split import split_ratings
from training.teachers.teacher import RankingLessons, RatingLessons, Teacher, Tutor
from training.teachers.teacher_fit import fit_teacher

ENVIRONMENTS = Path(".usher/peers")
DATA = "synthetic:users=200,items=80,ratings=5000,seed=3"


def teacher_of(users: int, items: int, factors: int, decay: float = 1.0) -> Teacher:
    rng = np.random.default_rng(0)
    scale = decay ** np.arange(factors)
    return Teacher(
        mean=3.5,
        user_bias=rng.normal(0, 0.3, users).astype(np.float32),
        item_bias=rng.normal(0, 0.3, items).astype(np.float32),
        user_factors=(rng.normal(size=(users, factors)) * scale).astype(np.float32),
        item_factors=(rng.normal(size=(items, factors)) * 0.2).astype(np.float32),
    )


def dense(teacher: Teacher) -> NDArray[np.float32]:
    biases = teacher.user_bias[:, None] + teacher.item_bias[None, :]
    return teacher.mean + biases + teacher.user_factors @ teacher.item_factors.T


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return load_ratings(DATA, SourceSettings(download=False))


def test_a_teacher_rates_by_biases_and_factors() -> None:
    teacher = teacher_of(7, 5, 3)
    users, items = np.array([0, 6, 3]), np.array([4, 0, 2])
    np.testing.assert_allclose(teacher.rate(users, items), dense(teacher)[users, items], rtol=1e-5)


def test_compression_is_as_good_as_the_exact_truncated_svd() -> None:
    teacher = teacher_of(120, 90, 60, decay=0.8)
    compressed = teacher.compressed(12, seed=0)
    assert compressed.user_factors.shape == (120, 12)
    product = teacher.user_factors @ teacher.item_factors.T
    u, s, vt = np.linalg.svd(product, full_matrices=False)
    best = np.linalg.norm(product - (u[:, :12] * s[:12]) @ vt[:12])
    mine = np.linalg.norm(product - compressed.user_factors @ compressed.item_factors.T)
    assert mine <= best * 1.01
    assert teacher.compressed(60, seed=0) is teacher


def test_a_taught_network_starts_from_the_items_of_its_teacher(ratings: Ratings) -> None:
    teacher = teacher_of(200, 80, 40, decay=0.8)
    product = teacher.user_factors @ teacher.item_factors.T
    factors = teacher.starting_factors(12, seed=1)
    assert factors.shape == (80, 12)
    users = product @ np.linalg.pinv(factors).T
    np.testing.assert_allclose(np.square(users).mean(0), 1, rtol=0.02)
    u, s, vt = np.linalg.svd(product, full_matrices=False)
    best = np.linalg.norm(product - (u[:, :12] * s[:12]) @ vt[:12])
    assert np.linalg.norm(product - users @ factors.T) <= best * 1.01
    configuration = Configuration(
        name="student", network=Architecture(n_factors=12, hidden_dims=(16,), latent_dim=4)
    )
    rows = np.arange(len(ratings))
    network = build_network(ratings, rows, configuration, teacher)
    np.testing.assert_array_equal(network.rating_factors.detach().numpy(), factors)
    wide = configuration.model_copy(
        update={"network": Architecture(n_factors=50, hidden_dims=(16,), latent_dim=4)}
    )
    wider, alone = (build_network(ratings, rows, wide, one) for one in (teacher, None))
    torch.testing.assert_close(wider.rating_factors[:, 40:], alone.rating_factors[:, 40:])


def test_lessons_are_the_teachers_ratings_of_random_and_hidden_pairs(ratings: Ratings) -> None:
    teacher = teacher_of(200, 80, 4)
    histories = ratings.histories()
    batches = DenoisingBatches(
        histories,
        50,
        (0.2, 0.5),
        4.0,
        seed=0,
        tutor=Tutor(RatingLessons.of(teacher, histories, 10)),
    )
    users = np.arange(50)
    batch = batches.batch(users, np.random.default_rng(0))
    assert batch.lessons is not None
    rows, items = batch.lessons.rows_S.numpy(), batch.lessons.items_S.numpy()
    assert len(rows) == 50 * 10 + len(batch.hidden.rows_T)
    expected = dense(teacher)[users[rows], items]
    np.testing.assert_allclose(batch.lessons.ratings_S.numpy(), expected, rtol=1e-5)
    assert (items[500:] == batch.hidden.items_T.numpy()).all()


def test_half_of_the_random_pairs_follow_popularity(ratings: Ratings) -> None:
    teacher, histories = teacher_of(200, 80, 2), ratings.histories()
    lessons = RatingLessons.of(teacher, histories, 400)
    items = lessons.draw(200, np.random.default_rng(0))
    drawn = np.bincount(items, minlength=80) / len(items)
    popularity = np.bincount(histories.items, minlength=80) / len(histories.items)
    np.testing.assert_allclose(drawn, (popularity + 1 / 80) / 2, atol=0.003)


def test_where_all_items_are_taught_the_lesson_is_what_drawn_pairs_come_to(
    ratings: Ratings,
) -> None:
    teacher, histories = teacher_of(200, 80, 4), ratings.histories()
    torch.manual_seed(0)
    network = HybridVAE(
        Architecture(n_factors=4, hidden_dims=(8,), latent_dim=4), 80, torch.arange(1.0, 6.0), 3.0
    ).eval()
    users = np.arange(30)
    part = histories.take(users)
    vectors = network.users_of(*map(torch.from_numpy, (part.items, part.ratings, part.offsets)))

    def lesson(pairs: int | Literal["all"], hide: NDArray[np.bool_]) -> tuple[float, Lessons]:
        tutor = Tutor(RatingLessons.of(teacher, histories, pairs))
        lessons = tutor.lessons(users, part, hide, np.random.default_rng(0))
        counts = Counts(ratings=0, liked=0, pairs=len(lessons.rows_S), users=len(users))
        return float(rating_lesson(network, vectors, lessons, counts).detach()), lessons

    nothing, everything = np.zeros(len(part.items), bool), np.ones(len(part.items), bool)
    of_all, lessons = lesson("all", nothing)
    popularity = np.bincount(histories.items, minlength=80) / len(histories.items)
    rows, items = np.divmod(np.arange(30 * 80), 80)
    rated = network.rate(vectors, torch.from_numpy(rows), torch.from_numpy(items))[0]
    squared = np.square(rated.detach().numpy().reshape(30, 80) - dense(teacher)[users])
    expected = (squared * (popularity + 1 / 80) / 2).sum(1).mean()
    assert of_all == pytest.approx(0.8 * expected, rel=1e-4)
    assert len(lessons.rows_S) == 0
    drawn, _ = lesson(20_000, nothing)
    assert drawn == pytest.approx(expected, rel=0.01)
    of_hidden = squared[part.rows, part.items].mean()
    assert lesson("all", everything)[0] == pytest.approx(0.8 * expected + 0.2 * of_hidden, rel=1e-4)


@pytest.mark.parametrize("pairs", [400, "all"])
def test_what_a_teacher_remembers_may_go_untaught(
    ratings: Ratings, pairs: int | Literal["all"]
) -> None:
    teacher, histories = teacher_of(200, 80, 4), ratings.histories()
    network = HybridVAE(
        Architecture(n_factors=4, hidden_dims=(8,), latent_dim=4), 80, torch.arange(1.0, 6.0), 3.0
    ).eval()
    users = np.arange(10, 40)
    part = histories.take(users)
    vectors = network.users_of(*map(torch.from_numpy, (part.items, part.ratings, part.offsets)))
    tutor = Tutor(RatingLessons.of(teacher, histories, pairs, rated_pairs=False))
    hide = np.random.default_rng(1).random(len(part.items)) < 0.5
    lessons = tutor.lessons(users, part, hide, np.random.default_rng(0)).to(torch.device("cpu"))
    counts = Counts(ratings=0, liked=0, pairs=len(lessons.rows_S), users=len(users))
    popularity = np.bincount(histories.items, minlength=80) / len(histories.items)
    fresh = np.ones((30, 80), bool)
    fresh[part.rows, part.items] = False
    if pairs == "all":
        assert len(lessons.rows_S) == 0
        taught = np.broadcast_to((popularity + 1 / 80) / 2, (30, 80)) * fresh / 30
    else:
        taught = np.zeros((30, 80))
        np.add.at(taught, (lessons.rows_S.numpy(), lessons.items_S.numpy()), 1 / counts.pairs)
        assert fresh[taught > 0].all()
        assert (taught[fresh] > 0).mean() > 0.9
    rows, items = np.divmod(np.arange(30 * 80), 80)
    rated = network.rate(vectors, torch.from_numpy(rows), torch.from_numpy(items))[0]
    squared = np.square(rated.detach().numpy().reshape(30, 80) - dense(teacher)[users])
    found = float(rating_lesson(network, vectors, lessons, counts).detach())
    assert found == pytest.approx((squared * taught).sum(), rel=1e-4)


def test_a_student_comes_closer_to_its_teacher(ratings: Ratings, tmp_path: Path) -> None:
    split = split_ratings(ratings, "random", 42)
    teacher = teacher_of(200, 80, 3)
    users, items = np.divmod(np.arange(200 * 80), 80)

    tutor = Tutor(RatingLessons.of(teacher, ratings.histories(split.fit), 20))

    def distance(teaching: Teaching | None, folder: str) -> float:
        from training.evaluation.network_predictor import NetworkPredictor

        configuration = Configuration(
            name="student",
            network=Architecture(n_factors=8, hidden_dims=(32,), latent_dim=8, dropout=0.0),
            training=Optimisation(
                batch_users=20, max_epochs=12, patience=12, teacher=teaching,
                kl={"weight": 0.0}, learning_rate={"initial": 0.005},
            ),
        )  # fmt: skip
        fitted = choose(
            ratings, split.fit, split.validation, configuration, tmp_path / folder, print,
            progress=False, tutor=tutor if teaching else None,
        )  # fmt: skip
        predictor = NetworkPredictor("student", fitted.network, (-9, 9))
        rated = predictor.rate(ratings.histories(split.fit), users, items)
        return float(np.sqrt(np.mean((rated - teacher.rate(users, items)) ** 2)))

    assert distance(Teaching(weight=20.0), "taught") < 0.9 * distance(None, "alone")


def test_ranking_lessons_are_the_softmax_of_leave_one_out_scores(ratings: Ratings) -> None:
    histories = ratings.histories()
    ease = fit_ease(ratings, np.arange(len(ratings)), liked_from=4.0, lambda_=50.0)
    batches = DenoisingBatches(
        histories, 50, (0.2, 0.5), 4.0, seed=0, tutor=Tutor(ranking=RankingLessons(ease, 6.0))
    )
    batch = batches.batch(np.arange(3), np.random.default_rng(0))
    assert batch.lessons is not None
    assert batch.lessons.preference_BI is not None
    assert len(batch.lessons.rows_S) == 0
    for user in range(3):
        items, values = histories.of(user)
        scores = ease.weights[items[values >= 4]].sum(axis=0)
        expected = np.exp(6 * scores) / np.exp(6 * scores).sum()
        np.testing.assert_allclose(batch.lessons.preference_BI[user], expected, rtol=1e-4)
    assert np.abs(np.diag(ease.weights)).max() == 0


def test_the_ranking_lesson_is_a_cross_entropy() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]])
    taught = torch.tensor([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    counts = Counts(ratings=0, liked=0, pairs=0, users=2)
    loss = preference_lesson(torch.log_softmax(logits, 1), taught, counts)
    expected = torch.nn.functional.cross_entropy(logits, taught)
    torch.testing.assert_close(loss, expected)


@pytest.mark.skipif(
    not is_installed("myfm", ENVIRONMENTS),
    reason="the teacher's library is not there: make accuracy ONLY=ml-100k:myfm",
)
def test_bayesian_svdpp_is_told_faithfully_and_rates_better_than_biases(
    ratings: Ratings, tmp_path: Path
) -> None:
    (tmp_path / "peers").symlink_to(ENVIRONMENTS.resolve())
    split = split_ratings(ratings, "random", 42)
    teacher = fit_teacher(ratings, split.fit, Teaching(rank=4, draws=60), 1, tmp_path)
    assert teacher.user_factors.shape == (200, 4 * 40)  # draws but for the burn-in, side by side
    rows = split.validation.hidden
    users, items = ratings.users[rows].astype(np.int64), ratings.items[rows].astype(np.int64)
    actual = ratings.values[rows]
    bias = fit_bias(ratings, split.fit)
    by_bias = bias.rate(ratings.histories(split.fit), users, items)
    mine = np.sqrt(np.mean((teacher.rate(users, items) - actual) ** 2))
    assert mine < np.sqrt(np.mean((by_bias - actual) ** 2)) * 1.01


def test_a_teacher_that_cannot_be_installed_is_told_in_one_sentence(
    ratings: Ratings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(TrainingError, match="myfm cannot be installed") as caught:
        fit_teacher(ratings, np.arange(10), Teaching(), 1, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "peers" / "myfm").exists()
