"""Configurations: shipped ones load, overrides apply, mistakes are one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.config import Configuration, load_configuration, shipped_configurations
from training.errors import ConfigurationError


@pytest.mark.parametrize("name", shipped_configurations())
def test_every_shipped_configuration_loads(name: str) -> None:
    configuration = load_configuration(name)
    assert configuration.name == name
    again = Configuration.model_validate_json(configuration.model_dump_json())
    assert again == configuration


def test_proven_is_what_the_notes_say() -> None:
    proven = load_configuration("proven")
    network, training = proven.network, proven.training
    assert (network.n_factors, network.hidden_dims, network.latent_dim) == (
        150,
        (512, 256, 128),
        64,
    )
    assert (network.dropout, training.max_epochs, training.patience) == (0.4, 100, 15)
    assert (training.learning_rate.initial, training.kl.weight) == (5e-4, 0.01)


def test_scaled_is_what_the_notes_say() -> None:
    scaled = load_configuration("scaled")
    network, training = scaled.network, scaled.training
    assert (network.n_factors, network.hidden_dims, network.latent_dim) == (
        200,
        (640, 384, 192),
        80,
    )
    assert (network.dropout, training.kl.weight, training.kl.schedule) == (0.38, 0.008, "cosine")
    rate = training.learning_rate
    assert (rate.initial, rate.schedule, rate.warmup_epochs) == (4e-4, "plateau", 5)
    assert (training.kl.free_bits, rate.averaging_from) == (2.0, 0.8)


def test_overrides_reach_nested_values_and_keep_the_rest() -> None:
    changed = load_configuration(
        "proven", ["training.kl.weight=0.5", "network.hidden_dims=[8, 4]", "seed=7"]
    )
    assert changed.training.kl.weight == 0.5
    assert changed.network.hidden_dims == (8, 4)
    assert changed.seed == 7
    assert changed.training.patience == 15


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.max_epochs=0", "max_epochs"),
        ("training.epochs=5", "training.epochs"),
        ("training.max_epoch=5", "no such setting (did you mean max_epochs?)"),
        ("network.rater_encoding={widht: 3}", "no such setting (did you mean width?)"),
        ("trainig.max_epochs=5", "trainig: there is no such setting (did you mean training?)"),
        ("ensemble=[{name: one, sed_offset: 1}]", "ensemble.0.sed_offset: there is no such"),
        ("training.max_epochs=many", "many"),
        ("training.hidden_share=[0.9, 0.1]", "hidden_share"),
        ("training", "key=value"),
        ("seed.x=1", "below seed"),
        ("network.dropout=1.0", "dropout"),
        ("training={mixup: 0.2, teacher: {pairs_per_user: all}}", "mixup"),
        ("training.teacher={pairs_per_user: none}", "pairs_per_user"),
        ("seed=-1", "seed"),
        ("evaluation.split_seed=-1", "split_seed"),
        ("network.hidden_dims=[", "not YAML"),
        ("network.hidden_dims=[]", "hidden_dims"),
    ],
)
def test_a_wrong_override_is_one_sentence_that_names_it(override: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)) as caught:
        load_configuration("proven", ["seed=1", override])
    assert "\n" not in str(caught.value)


def test_unreadable_configurations_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"unproven \(did you mean proven\?\); choose"):
        load_configuration("unproven")
    with pytest.raises(ConfigurationError, match="absent"):
        load_configuration(str(tmp_path / "absent.yaml"))
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("just words")
    with pytest.raises(ConfigurationError, match="keys and values"):
        load_configuration(str(wrong))
    wrong.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_configuration(str(wrong))


def test_a_file_is_named_after_itself_unless_it_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 3")
    assert load_configuration(str(path)).name == "mine"
    path.write_text("name: other")
    assert load_configuration(str(path)).name == "other"
