"""Ablations: validation rows only, paired by seed, written down trial by trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.printed import printed
from tests.tiny import tiny_ratings
from training.__main__ import main
from training.ablation import BASE, Ablation, Trial, ablate, ablation_table
from training.config import Configuration, load_configuration
from training.errors import ConfigurationError
from training.split import split_ratings

SMALL = [
    "network.n_factors=4", "network.hidden_dims=[8]", "network.latent_dim=2",
    "training.max_epochs=2", "training.batch_users=16",
]  # fmt: skip


def small(*overrides: str) -> Configuration:
    return load_configuration("proven", [*SMALL, *overrides])


def ablation_in(folder: Path, said: list[str]) -> Ablation:
    ratings = tiny_ratings()
    split = replace(split_ratings(ratings, "random", 42), tests=())  # nobody can look at them
    variants = {BASE: small(), "faster": small("training.learning_rate.initial=0.01")}
    return Ablation(ratings, split, variants, (1, 2), folder, folder, said.append)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    return ablate(ablation_in(tmp_path_factory.mktemp("ablation"), []))


def test_every_variant_is_tried_from_every_seed(trials: list[Trial]) -> None:
    assert [(t.variant, t.seed) for t in trials] == [
        (BASE, 1), (BASE, 2), ("faster", 1), ("faster", 2)
    ]  # fmt: skip
    figures = [trial.figures["rmse"] for trial in trials]
    assert len(set(figures)) == 4  # neither a seed nor a variant is ignored


def test_what_is_written_down_is_not_tried_again(tmp_path: Path, trials: list[Trial]) -> None:
    said: list[str] = []
    ablation = ablation_in(tmp_path, said)
    first = ablate(replace(ablation, variants={BASE: ablation.variants[BASE]}))
    assert len(said) == 2
    both = ablate(ablation)
    assert len(said) == 4
    assert both[:2] == first
    assert [t.figures for t in both] == [t.figures for t in trials]  # and seeds decide


def test_changes_are_paired_by_seed(trials: list[Trial]) -> None:
    text = printed(ablation_table(trials, "title"), width=160)
    base, faster = (
        np.array([t.figures["rmse"] for t in trials if t.variant == name])
        for name in (BASE, "faster")
    )
    change = faster - base
    assert f"{change.mean():+.4f} +-{change.std(ddof=1):.4f}" in text
    assert f"{base.mean():.4f}" in text


def test_the_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [part for override in SMALL for part in ("--set", override)]
    data = "synthetic:users=60,items=120,ratings=1200,seed=0"
    command = [
        "ablate",
        "--data",
        data,
        "--seeds",
        "1",
        "--variant",
        "network.dropout=0.1 training.batch_users=8",
    ]
    assert main([*command, *overrides, "--folder", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "network.dropout=0.1" in out
    assert "validation rows" in out


def test_an_ensemble_is_refused_in_one_sentence(tmp_path: Path) -> None:
    said: list[str] = []
    ablation = ablation_in(tmp_path, said)
    several = small("ensemble=[{name: one}, {name: two, seed_offset: 1}]")
    with pytest.raises(ConfigurationError, match="more is an ensemble"):
        ablate(replace(ablation, variants={**ablation.variants, "more": several}))
    assert said == []
