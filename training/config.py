"""A configuration: everything a run depends on but the ratings themselves. One YAML each.

`load_configuration` reads a shipped name (`proven`) or a path, applies `key=value` overrides with
dotted keys (`training.learning_rate=0.001`) and validates; a mistake is one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, PositiveInt, ValidationError, model_validator

from models.networks.architecture import Architecture
from training.ensembles.member import Member, overridden
from training.errors import ConfigurationError
from training.section import Section
from training.settings_problem import first_problem
from training.suggestions import meant


class Evaluation(Section):
    """How rows are split and what counts as liked."""

    protocol: str = "random"
    """random, random-1234, official-u1, official-u2, temporal, users or users-liked."""
    split_seed: int = Field(42, ge=0, lt=2**32)
    """Seed of the split; the training seed is apart from it."""
    liked_from: float = 4.0
    """Ratings at or above this are liked: targets of ranking and of the preference head."""
    coverage: float = Field(0.8, gt=0, lt=1)
    """Share of ratings the reported interval should contain."""
    spread: Literal["learned", "regressed"] = "learned"
    """What an interval's width follows: the spread as the network learned it, or as regressed on
    validation rows, so that intervals suit users of any history and items of any popularity."""


class KullbackLeibler(Section):
    """Weight of the KL term. KL is in nats per user and latent dimension (mean over both)."""

    weight: float = Field(0.01, ge=0)
    """Weight of the term, or what it rises to."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the weight rises from 0 to `weight` over the first `annealing_epochs`."""
    annealing_epochs: int = Field(0, ge=0)
    """Epochs the weight takes to rise (linear and cosine)."""
    free_bits: float = Field(0.0, ge=0)
    """Bits per user, shared evenly by the latent dimensions, that cost nothing."""


class LearningRate(Section):
    """Step size of AdamW and how it changes."""

    initial: float = Field(5e-4, gt=0)
    """The rate after warm-up; of one cycle, its peak."""
    schedule: Literal["constant", "plateau", "one_cycle"] = "constant"
    """constant; plateau: halved when `monitor` stands still; one_cycle: up and down once (Smith and
    Topin 2018)."""
    warmup_epochs: int = Field(0, ge=0)
    """Epochs over which the rate rises linearly from 0 (constant and plateau)."""
    plateau_patience: int = Field(4, ge=0)
    """Epochs without improvement before the rate is halved (plateau)."""
    averaging_from: float | None = Field(None, gt=0, lt=1)
    """Share of max_epochs after which weights are averaged; the run is then never stopped early,
    and the better of the average and the best epoch, on validation, is kept."""


class Teaching(Section):
    """What a strong transductive model teaches the network; nothing of it is served."""

    kind: Literal["bayesian-svdpp"] = "bayesian-svdpp"
    """The kind of teacher: Bayesian SVD++ by Gibbs sampling (myFM)."""
    rank: int = Field(24, ge=1)
    """Factors of the teacher."""
    draws: int = Field(250, ge=21)
    """Gibbs draws, of which the first 20 are thrown away."""
    compressed_rank: int = Field(200, ge=1)
    """Rank of the mean of all draws as it is kept for teaching."""
    pairs_per_user: PositiveInt | Literal["all"] = 120
    """Pairs a user is taught on per pass, half of them drawn by popularity; "all": every item,
    weighted so, for catalogues of some thousands of items."""
    weight: float = Field(4.0, ge=0)
    """Weight of the squared difference from the teacher, on those and on the hidden pairs each."""
    rated_pairs: bool = True
    """Whether it also teaches pairs that were rated, of which it has seen the ratings."""
    side_information: bool = False
    """Whether the teacher is told user attributes, genres and years of release too."""


class RankingTeaching(Section):
    """EASE, fitted on the training users, teaches the preference head."""

    lambda_: float = Field(500.0, gt=0)
    """Ridge penalty of EASE."""
    sharpness: float = Field(6.0, gt=0)
    """Its scores are multiplied by this before their softmax is taught."""
    weight: float = Field(1.0, ge=0)
    """Weight of the cross entropy to that distribution, mean over users."""


class Adversarial(Section):
    """Items' vectors are moved to where the loss is worse, and the loss there is learnt too."""

    epsilon: float = Field(0.1, gt=0)
    """How far, as a share of each vector's own length."""
    weight: float = Field(1.0, gt=0)
    """Weight of the loss there, beside the loss itself."""


class TimeEffects(Section):
    """Effects of time that targets are freed from: they are told as of the last fitted moment."""

    effects: tuple[Literal["period", "age", "item", "user", "day"], ...] = Field(
        ("period", "age", "item", "user", "day"), min_length=1
    )
    """Which: all ratings' drift, an item's age, each item's drift, each user's, a user's day."""
    periods: int = Field(30, ge=2)
    """Periods of about as many ratings each, in which ratings and items drift."""
    ridge: float = Field(20.0, gt=0)
    """Ratings of no effect that every single value is shrunk by."""


class Optimisation(Section):
    """How the network is fitted."""

    batch_users: int = Field(128, ge=1)
    """Users per batch; at 165 ratings each (MovieLens), 12 users hold about 2,000 ratings."""
    max_epochs: int = Field(100, ge=1)
    """Passes over the users at most."""
    patience: int = Field(15, ge=1)
    """Epochs without improvement of `monitor` on validation before training ends."""
    monitor: Literal["rmse", "ndcg"] = "rmse"
    """What early stopping and the best checkpoint follow on the validation fold."""
    hidden_share: tuple[float, float] = (0.05, 0.5)
    """Range of the share of each history that is hidden and predicted."""
    rating_weight: float = Field(1.0, ge=0)
    """Weight of the likelihood of the hidden stars."""
    preference_weight: float = Field(0.1, ge=0)
    """Weight of the multinomial likelihood of the hidden liked items."""
    negatives: int = Field(0, ge=0)
    """Items sampled per batch for the preference likelihood; 0: all items, the full softmax."""
    mixup: float = Field(0.0, ge=0)
    """Users are mixed in pairs at shares from Beta(mixup, mixup); 0: not at all."""
    adversarial: Adversarial | None = None
    time_effects: TimeEffects | None = None
    factor_penalty: float = Field(1e-4, ge=0)
    """Weight of the squared norm of the rating factors in use."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of AdamW (Loshchilov and Hutter 2019)."""
    gradient_clip: float = Field(5.0, gt=0)
    """Largest norm of the gradient; longer ones are scaled down to it."""
    teacher: Teaching | None = None
    ranking_teacher: RankingTeaching | None = None
    kl: KullbackLeibler = KullbackLeibler()
    learning_rate: LearningRate = LearningRate()

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.hidden_share
        if not 0 < low <= high <= 1:
            raise ValueError("hidden_share must satisfy 0 < low <= high <= 1")
        if self.negatives and self.ranking_teacher:
            raise ValueError(
                "ranking_teacher teaches all items and negatives samples some: drop one"
            )
        return self


class Configuration(Section):
    """One run: what is fitted, how, on what split, from which seed."""

    name: str
    """What reports, runs and versions call it; unset in a YAML, the file's name."""
    seed: int = Field(1, ge=0, lt=2**32)
    """Seed of initialisation, batches and hiding."""
    network: Architecture = Architecture()
    training: Optimisation = Optimisation()
    evaluation: Evaluation = Evaluation()
    refit: bool = True
    """After choosing the epoch on validation, fit again on all training rows for that long."""
    ensemble: tuple[Member, ...] | None = Field(None, min_length=1, max_length=8)
    """Members that are weighted on validation and served as one; None: one network."""

    def of_member(self, member: Member) -> Configuration:
        """This configuration as a member of it is fitted."""
        content = self.model_dump() | {
            "name": member.name, "seed": self.seed + member.seed_offset, "ensemble": None
        }  # fmt: skip
        overrides = {"network": member.network, "training": member.training}
        return Configuration.model_validate(overridden(content, overrides))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.network.likelihood == "ordinal" and self.training.time_effects:
            raise ValueError(
                "an ordinal likelihood knows levels alone and time_effects moves ratings between "
                "them: drop one"
            )
        if self.training.adversarial and (
            self.network.item_features or self.network.rater_encoding
        ):
            raise ValueError(
                "training.adversarial moves items that are free parameters: drop it, or "
                "network.item_features and network.rater_encoding"
            )
        return self

    @model_validator(mode="after")
    def _check_lessons(self) -> Self:
        teacher = self.training.teacher
        if self.training.mixup and teacher and teacher.pairs_per_user == "all":
            raise ValueError(
                "training.mixup mixes users pair by pair and teacher.pairs_per_user is all: give "
                "a number of pairs, or drop mixup"
            )
        return self

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        members = self.ensemble or ()
        if len({member.name for member in members}) < len(members):
            raise ValueError("two members of the ensemble have one name")
        if members and all(member.kind == "ridge-fold-in" for member in members):
            raise ValueError("a member of an ensemble must rank: add one of kind hybrid-vae")
        for member in members:
            self._check_member(member)
        return self

    def _check_member(self, member: Member) -> None:
        try:
            training = self.of_member(member).training
        except ValidationError as error:
            raise ValueError(
                f"the member {member.name}: {first_problem(error, Configuration)}"
            ) from None
        own, shared = training.teacher, self.training.teacher
        if member.kind == "ridge-fold-in" and shared is None:
            raise ValueError(f"the member {member.name} needs training.teacher's item factors")
        taught = {"weight", "pairs_per_user", "rated_pairs"}
        if own and (
            not shared or own.model_dump(exclude=taught) != shared.model_dump(exclude=taught)
        ):
            raise ValueError(
                f"the member {member.name} asks for a teacher of its own: all share "
                "training.teacher, and only its weight, pairs_per_user and rated_pairs may differ"
            )
        if own and training.time_effects != self.training.time_effects:
            raise ValueError(
                f"the member {member.name} has time_effects of its own, and the teacher that all "
                "share was told of others"
            )


def shipped_configurations() -> list[str]:
    """Names of the configurations that come with the code."""
    folder = resources.files("training") / "configs"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_configuration(name: str, overrides: Sequence[str] = ()) -> Configuration:
    """Read a shipped configuration or a YAML file and apply `key=value` overrides.

    Raises ConfigurationError with one sentence naming what cannot be used.
    """
    content = _read(name)
    for override in overrides:
        _apply(content, override)
    try:
        return Configuration.model_validate({"name": Path(name).stem} | content)
    except ValidationError as error:
        raise ConfigurationError(
            f"The configuration {name} cannot be used: {first_problem(error, Configuration)}."
        ) from None


def _read(name: str) -> dict[str, Any]:
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in shipped_configurations():
            near = meant(name, shipped_configurations())
            raise ConfigurationError(
                f"There is no configuration named {name}{near}; choose one of "
                f"{', '.join(shipped_configurations())}, or give the path of a .yaml file."
            )
        path = Path(str(resources.files("training") / "configs" / f"{name}.yaml"))
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = str(error).replace("\n", " ")
        raise ConfigurationError(f"The configuration {path} cannot be read: {problem}.") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"The configuration {path} must hold keys and values.")
    return content


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise ConfigurationError(f"The override {override!r} must have the form key=value.")
    *parents, last = key.strip().split(".")
    section = content
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ConfigurationError(f"The override {override!r} goes below {parent}, a value.")
    try:
        section[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigurationError(f"The value of the override {override!r} is not YAML.") from None
