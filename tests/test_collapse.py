"""Parametrized networks: collapsed they answer the same, train, resume, average and export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.utils import parametrize

from models.histories import Histories
from models.networks.architecture import Architecture, RaterEncoding
from models.networks.collapse import collapsed
from models.networks.hybrid_vae import HybridVAE
from tests.small_ratings import random_ratings
from training.config import Configuration, Optimisation, load_configuration
from training.errors import ConfigurationError
from training.evaluation.evaluate import evaluate
from training.evaluation.network_predictor import NetworkPredictor
from training.export import export_graphs
from training.fitting.initial import build_network
from training.fitting.trainer import Fitted, choose, refit
from training.ratings import Ratings
from training.sources import SourceSettings, load_ratings
from training.split import Split, split_ratings

RATERS = RaterEncoding(width=4, sample=6)
TECHNIQUES: dict[str, dict[str, object]] = {
    "item_features": {"item_features": True},
    "spectral_norm": {"spectral_norm": True},
    "rater_encoding": {"rater_encoding": RATERS.model_copy(update={"free_factors": True})},
    "encoded_only": {"rater_encoding": RATERS},
    "all": {"item_features": True, "spectral_norm": True, "rater_encoding": RATERS},
}
each_technique = pytest.mark.parametrize("technique", TECHNIQUES)
some_techniques = pytest.mark.parametrize("technique", ["encoded_only", "all"])


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    name = "synthetic:users=150,items=120,ratings=4000,seed=1"
    return load_ratings(name, SourceSettings(download=False))


@pytest.fixture(scope="module")
def split(ratings: Ratings) -> Split:
    return split_ratings(ratings, "random", 42)


def configuration_of(technique: str, **training: object) -> Configuration:
    base = Architecture(n_factors=8, hidden_dims=(16, 12), latent_dim=4, dropout=0.1)
    wanted = {"batch_users": 16, "max_epochs": 3} | training
    return Configuration(
        name="test",
        network=base.model_copy(update=TECHNIQUES[technique]),
        training=Optimisation.model_validate(wanted),
    )


def shaken(ratings: Ratings, split: Split, technique: str) -> HybridVAE:
    """A network none of whose parameters is where it started, so every part counts."""
    network = build_network(ratings, split.fit, configuration_of(technique))
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network.eval()


def silent(text: str) -> None:
    pass


def answers(network: HybridVAE, histories: Histories) -> list[NDArray[np.float32]]:
    predictor = NetworkPredictor("vae", network, (0.5, 5))
    rows = np.repeat(np.arange(len(histories)), 4)
    items = np.arange(len(rows)) % len(network.rating_bias)
    return [predictor.score(histories), *predictor.rate_with_spread(histories, rows, items)]


@each_technique
def test_collapsed_it_answers_the_same_and_is_a_plain_network(
    ratings: Ratings, split: Split, technique: str
) -> None:
    network, histories = shaken(ratings, split, technique), ratings.histories(split.fit)
    before = answers(network, histories)
    plain = collapsed(network)
    again = answers(network, histories)
    for mine, expected, kept in zip(answers(plain, histories), before, again, strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-5)
        np.testing.assert_array_equal(kept, expected)  # the original is as it was
    assert type(plain) is HybridVAE
    architecture = Architecture(n_factors=8, hidden_dims=(16, 12), latent_dim=4)
    never = HybridVAE(architecture, len(ratings.catalog), network.levels_L, 3.5)
    assert plain.state_dict().keys() == never.state_dict().keys()
    assert {n for n, _ in plain.named_parameters()} == {n for n, _ in never.named_parameters()}
    assert not any(parametrize.is_parametrized(module) for module in plain.modules())
    assert collapsed(plain) is plain


@each_technique
def test_fitting_begins_where_it_does_without(
    ratings: Ratings, split: Split, technique: str
) -> None:
    bare = configuration_of(technique).model_copy(update={"network": Architecture(
        n_factors=8, hidden_dims=(16, 12), latent_dim=4, dropout=0.1
    )})  # fmt: skip
    network = build_network(ratings, split.fit, configuration_of(technique))
    plain = build_network(ratings, split.fit, bare)
    assert torch.equal(network.item_embedding, plain.item_embedding)
    torch.testing.assert_close(network.rating_bias, plain.rating_bias)
    if technique not in ("spectral_norm", "all"):
        for mine, expected in zip(
            network.encoder.parameters(), plain.encoder.parameters(), strict=True
        ):
            assert torch.equal(mine, expected)


@each_technique
def test_every_parameter_in_use_gets_a_gradient(
    ratings: Ratings, split: Split, technique: str
) -> None:
    network, histories = shaken(ratings, split, technique), ratings.histories(split.fit)
    columns = map(torch.from_numpy, (histories.items, histories.ratings, histories.offsets))
    users = network.users_of(*columns)
    rated, spread = network.rate(users, torch.arange(40), torch.arange(40))
    (rated.sum() + spread.sum() + network.logits(users).square().sum()).backward()
    without = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    idle = {f"to_log_variance.{n}" for n in ("weight", "bias")}  # nothing was sampled here
    idle |= {"to_log_variance.parametrizations.weight.original"}
    if technique in ("encoded_only", "all"):
        idle |= {"parametrizations.rating_factors.original"}
    assert without <= idle


@some_techniques
def test_a_resumed_run_ends_where_an_unbroken_one_does(
    ratings: Ratings, split: Split, tmp_path: Path, technique: str
) -> None:
    def fit(folder: Path, epochs: int, resume: bool) -> Fitted:
        return choose(
            ratings, split.fit, split.validation, configuration_of(technique, max_epochs=epochs),
            folder, silent, resume=resume, progress=False, save_every_s=0.0,
        )  # fmt: skip

    fit(tmp_path / "broken", 2, resume=False)
    resumed = fit(tmp_path / "broken", 4, resume=True)
    unbroken = fit(tmp_path / "unbroken", 4, resume=False)
    assert [record.epoch for record in resumed.history] == [1, 2, 3, 4]
    for mine, expected in zip(resumed.history, unbroken.history, strict=True):
        assert mine.figures == pytest.approx(expected.figures, abs=1e-6)


@some_techniques
def test_what_is_returned_is_plain_and_as_good_as_validation_said(
    ratings: Ratings, split: Split, tmp_path: Path, technique: str
) -> None:
    fitted = choose(
        ratings, split.fit, split.validation, configuration_of(technique), tmp_path, silent,
        progress=False,
    )  # fmt: skip
    assert type(fitted.network) is HybridVAE
    predictor = NetworkPredictor("vae", fitted.network, (0.5, 5))
    scores = evaluate(predictor, ratings, split.validation, liked_from=4.0, seed=0)
    figures = fitted.history[fitted.epochs - 1].figures
    assert scores.rmse == pytest.approx(figures["validation_rmse"], abs=1e-5)
    assert scores.ndcg_100 == pytest.approx(figures["validation_ndcg"], abs=1e-4)


@pytest.mark.parametrize("rate", [0.02, 1e-6])
def test_averages_of_parametrized_weights_are_judged_and_refitted(
    ratings: Ratings, split: Split, tmp_path: Path, rate: float
) -> None:
    rates = {"averaging_from": 0.5, "initial": rate}
    configuration = configuration_of("all", max_epochs=6, learning_rate=rates)
    chosen = choose(
        ratings, split.fit, split.validation, configuration, tmp_path, silent, progress=False
    )
    predictor = NetworkPredictor("vae", chosen.network, (0.5, 5))
    rmse = evaluate(predictor, ratings, split.validation, liked_from=4.0, seed=0).rmse
    best = min(record.figures["validation_rmse"] for record in chosen.history)
    assert rmse is not None
    assert rmse < best if chosen.averaged else rmse == pytest.approx(best, abs=1e-5)
    again = refit(ratings, split.fit, chosen, configuration, silent, progress=False)
    assert type(again.network) is HybridVAE
    torch.testing.assert_close(again.network.rating_factors, chosen.network.rating_factors)


def test_the_collapsed_network_exports(ratings: Ratings, split: Split, tmp_path: Path) -> None:
    network, histories = shaken(ratings, split, "all"), ratings.histories(split.fit)
    examples = histories.take(np.arange(20))
    items = len(ratings.catalog)
    exported = export_graphs(collapsed(network), items, ratings.scale, examples, tmp_path)
    assert exported.top_k == min(100, items)


@pytest.mark.parametrize("option", ["network.item_features=true", "network.rater_encoding={}"])
def test_adversarial_perturbation_of_tables_made_of_others_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match="free parameters"):
        load_configuration("proven", ["training.adversarial={}", option])


def test_adversarial_perturbation_goes_with_spectral_norms(
    ratings: Ratings, split: Split, tmp_path: Path
) -> None:
    configuration = configuration_of("spectral_norm", adversarial={})
    fitted = choose(
        ratings, split.fit, split.validation, configuration, tmp_path, silent, progress=False
    )
    assert type(fitted.network) is HybridVAE


def test_a_technique_without_anything_to_work_with_is_refused_in_one_sentence() -> None:
    ratings = random_ratings(40, 30, 0.3, 0)  # no genres, no years
    rows = np.arange(len(ratings))
    with pytest.raises(ConfigurationError, match="neither"):
        build_network(ratings, rows, configuration_of("item_features"))
    many = configuration_of("rater_encoding", batch_users=20)
    with pytest.raises(ConfigurationError, match="batch_users to 19 or less"):
        build_network(ratings, rows, many)
