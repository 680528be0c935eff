"""Who fits: read from the command line and torchrun's variables; what several cannot is refused."""

from __future__ import annotations

import pytest

from training.cluster import Cluster, cluster_of, refuse_undivided
from training.command_line import parser
from training.config import load_configuration
from training.errors import ConfigurationError


def clustered(words: str, **environment: str) -> Cluster:
    return cluster_of(parser().parse_args(["train", *words.split()]), environment)


def test_the_command_line_and_torchruns_variables_say_which_machine_this_is() -> None:
    assert clustered("") == Cluster()
    assert clustered("--processes 4") == Cluster(4)
    named = clustered("--processes 2 --machines 3 --machine-rank 1 --main-address a.b:29")
    assert named == Cluster(2, 3, 1, ("a.b", 29))
    assert (named.size, named.leads) == (6, False)
    told = clustered("--machines 2", NODE_RANK="0", MASTER_ADDR="a.b", MASTER_PORT="31")
    assert told == Cluster(1, 2, 0, ("a.b", 31))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--processes 0", "1 or more"),
        ("--machine-rank 1", "give --machines"),
        ("--machines 2 --machine-rank 0", "need --main-address"),
        ("--machines 2 --main-address a:1", "NODE_RANK must be a number"),
        ("--machines 2 --machine-rank 2 --main-address a:1", "is 0 to 1 for 2 machines"),
        ("--machines 2 --machine-rank 0 --main-address a:b", "port .* must be a number"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(words: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        clustered(words)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("network.rater_encoding={}", "network.rater_encoding needs all users"),
        ("training.time_effects={}", "training.time_effects needs all users"),
        ("training.batch_users=2", "batch_users is 2 and 3 processes"),
        ("ensemble=[{name: a, network: {rater_encoding: {}}}]", "network.rater_encoding"),
    ],
)
def test_what_cannot_be_divided_is_refused_before_anything_is_fitted(
    override: str, sentence: str
) -> None:
    configuration = load_configuration("proven", [override])
    refuse_undivided(configuration, Cluster())
    with pytest.raises(ConfigurationError, match=sentence):
        refuse_undivided(configuration, Cluster(3))


def test_shipped_configurations_can_be_divided_but_for_the_one_that_encodes_items() -> None:
    with pytest.raises(ConfigurationError, match=r"--set network.rater_encoding=null"):
        refuse_undivided(load_configuration("small"), Cluster(2))
    for name in ("proven", "scaled", "best", "ensemble"):
        refuse_undivided(load_configuration(name), Cluster(8))
