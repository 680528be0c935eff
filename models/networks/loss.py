"""The training objective of HybridVAE: a negative evidence lower bound over hidden ratings.

    loss = rating_weight * rating + preference_weight * preference + kl_weight * KL
           + factor_penalty * |factors|^2 + teacher * rating lesson
           + ranking_teacher * preference lesson

*rating*: mean squared error of the predicted against the hidden ratings, plus their negative
log-likelihood (`likelihoods`; the Gaussian one fits the spread alone). *preference*: multinomial
negative log-likelihood of the hidden liked items, mean over them (Liang et al. 2018, eq. 2), its
normaliser estimated where items are sampled. *KL*: to the prior, in nats per user and latent
dimension (of every level): the mean over both, so its weight means the same for every latent_dim.

Every mean is over what a batch holds. Where several processes have a part of the batch each, it is
over what all have together (`Counts`), so that the mean of their losses, and of their gradients, is
that of the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.networks.hybrid_vae import HybridVAE, UserVectors
from models.networks.latent import Posterior
from models.networks.sampled_softmax import Negatives, sampled_log_softmax


@dataclass(frozen=True)
class Hidden:
    """The hidden ratings of a batch of B users, T in all."""

    rows_T: Tensor
    items_T: Tensor
    ratings_T: Tensor
    liked_T: Tensor
    """bool: which of them are targets of the preference head."""


HIDDEN_PART = 0.2  # of the rating lesson is about hidden pairs, where all items are taught


@dataclass(frozen=True)
class Everywhere:
    """What a teacher says of the rating of every item; weight_I, of sum 1, how much each counts.

    untaught: int64 rows and items of pairs it says nothing of, and which then count as learnt; with
    it hidden pairs have no lesson of their own. None: it teaches all.
    """

    ratings_BI: Tensor
    weight_I: Tensor
    untaught: tuple[Tensor, Tensor] | None = None

    def to(self, device: torch.device) -> Everywhere:
        """The same on another device."""
        rows_items = self.untaught
        return Everywhere(
            self.ratings_BI.to(device), self.weight_I.to(device),
            None if rows_items is None else (rows_items[0].to(device), rows_items[1].to(device)),
        )  # fmt: skip


@dataclass(frozen=True)
class Lessons:
    """What teachers say of a batch: of ratings for S pairs or all, of preference for all items."""

    rows_S: Tensor
    items_S: Tensor
    ratings_S: Tensor
    """S is 0 without a teacher of ratings."""
    preference_BI: Tensor | None
    """Each user's distribution over the items; None without a teacher of ranking."""
    everywhere: Everywhere | None = None
    """Given where a teacher of ratings teaches all items; the S pairs are then the hidden ones."""

    def to(self, device: torch.device) -> Lessons:
        """The same lessons on another device."""
        return Lessons(
            self.rows_S.to(device),
            self.items_S.to(device),
            self.ratings_S.to(device),
            None if self.preference_BI is None else self.preference_BI.to(device),
            self.everywhere and self.everywhere.to(device),
        )


def itself(share: Tensor) -> Tensor:
    """What a single process makes of its share of a mean."""
    return share


@dataclass(frozen=True)
class Counts:
    """What the means of a batch are over; for one of W processes a W-th of what all W have.

    ratings: hidden ones. liked: those of them that are. pairs: of the rating lesson. agreed: turns
    this process's share of a mean into the mean of all, with the gradient of the share.
    """

    ratings: float
    liked: float
    pairs: float
    users: float
    agreed: Callable[[Tensor], Tensor] = itself

    @staticmethod
    def of(users: int, hidden: Hidden, lessons: Lessons | None) -> Counts:
        """Those of a batch that one process has to itself."""
        pairs = len(lessons.rows_S) if lessons is not None else 0
        return Counts(len(hidden.rows_T), int(hidden.liked_T.sum()), pairs, users)


@dataclass(frozen=True)
class LossWeights:
    """How the parts add up; `kl` may follow a schedule."""

    rating: float
    preference: float
    kl: float
    free_bits: float
    factor_penalty: float
    teacher: float = 0.0
    ranking_teacher: float = 0.0


@dataclass(frozen=True)
class LossParts:
    """Scalars of one batch; `total` carries the gradient."""

    total: Tensor
    squared_error: Tensor
    preference: Tensor
    kl: Tensor
    ratings: float
    """What the squared error is a mean over."""


def denoising_loss(
    network: HybridVAE,
    posterior: Posterior,
    users: UserVectors,
    hidden: Hidden,
    w: LossWeights,
    lessons: Lessons | None = None,
    negatives: Negatives | None = None,
    counts: Counts | None = None,
) -> LossParts:
    """The objective for users encoded from their visible ratings and scored on the hidden ones.

    With `negatives` preference is scored on them instead of all items, and has no lesson. counts:
    None if nobody else has a part of the batch.
    """
    n = counts or Counts.of(len(users.rating_BF), hidden, lessons)
    located = network.locate(users, hidden.rows_T, hidden.items_T)
    predicted_T, _ = network.likelihood.rate(*located)
    squared_error = mean_or_zero((predicted_T - hidden.ratings_T).square(), n.ratings)
    nll = mean_or_zero(network.likelihood.nll(*located, hidden.ratings_T), n.ratings)
    preference, lesson = preference_terms(network, users, hidden, lessons, negatives, n)
    kl_Z = n.agreed(posterior.divergence().sum(dim=0) / n.users)
    used_TF = network.rating_factors[hidden.items_T]
    penalty = mean_or_zero(used_TF.square().sum(1), n.ratings)
    penalty = penalty + mean_or_zero(users.rating_BF.square().sum(1), n.users)
    total = (
        w.rating * (squared_error + nll)
        + w.preference * preference
        + w.kl * above_free(kl_Z, w.free_bits)
        + w.factor_penalty * penalty
    )
    if lessons is not None:
        total = total + w.teacher * rating_lesson(network, users, lessons, n)
    if lesson is not None:
        total = total + w.ranking_teacher * lesson
    return LossParts(
        total, squared_error.detach(), preference.detach(), kl_Z.mean().detach(), n.ratings
    )


def preference_terms(
    network: HybridVAE,
    users: UserVectors,
    hidden: Hidden,
    lessons: Lessons | None,
    negatives: Negatives | None,
    n: Counts,
) -> tuple[Tensor, Tensor | None]:
    """The preference loss, and the lesson of a teacher of ranking if there is one."""
    if negatives is not None:
        rows_T, items_T = hidden.rows_T[hidden.liked_T], hidden.items_T[hidden.liked_T]
        log_T = sampled_log_softmax(network, users, rows_T, items_T, negatives)
        return -mean_or_zero(log_T, n.liked), None
    log_preference_BI = torch.log_softmax(network.deep_logits(users), dim=1)
    taught_BI = lessons.preference_BI if lessons is not None else None
    lesson = None if taught_BI is None else preference_lesson(log_preference_BI, taught_BI, n)
    return preference_loss(log_preference_BI, hidden, n), lesson


def rating_lesson(network: HybridVAE, users: UserVectors, lessons: Lessons, n: Counts) -> Tensor:
    """Mean squared difference from the teacher's ratings (Hinton et al. 2015, for regression)."""
    predicted_S, _ = network.rate(users, lessons.rows_S, lessons.items_S)
    of_pairs = mean_or_zero((predicted_S - lessons.ratings_S).square(), n.pairs)
    everywhere = lessons.everywhere
    if everywhere is None:
        return of_pairs
    difference_BI = network.rate_all(users) - everywhere.ratings_BI
    if everywhere.untaught is not None:
        nothing = difference_BI.new_zeros(())
        difference_BI = difference_BI.index_put(everywhere.untaught, nothing)
    of_all = mean_or_zero(difference_BI.square() @ everywhere.weight_I, n.users)
    return of_all if everywhere.untaught is not None else of_all.lerp(of_pairs, HIDDEN_PART)


def preference_lesson(log_preference_BI: Tensor, taught_BI: Tensor, n: Counts) -> Tensor:
    """Cross entropy to the teacher's distribution over all items, mean over users, in nats."""
    return -mean_or_zero((taught_BI * log_preference_BI).sum(dim=1), n.users)


def preference_loss(log_preference_BI: Tensor, hidden: Hidden, n: Counts) -> Tensor:
    """-log softmax(logits) at the hidden liked items, mean over them, in nats."""
    rows_T, items_T = hidden.rows_T[hidden.liked_T], hidden.items_T[hidden.liked_T]
    return -mean_or_zero(log_preference_BI[rows_T, items_T], n.liked)


def kl_per_dimension(posterior: Posterior) -> Tensor:
    """KL of the posterior to its prior in nats, mean over users: [Z]."""
    return posterior.divergence().mean(dim=0)


def kl_divergence(posterior: Posterior) -> Tensor:
    """KL in nats per user and latent dimension."""
    return kl_per_dimension(posterior).mean()


def free_kl(posterior: Posterior, free_bits: float) -> Tensor:
    """KL with the first `free_bits` *bits per user* free of charge, shared out evenly.

    Each latent dimension pays only above free_bits * ln 2 / Z nats (Kingma et al. 2016,
    "Improving variational inference with inverse autoregressive flow", eq. 15).
    """
    return above_free(kl_per_dimension(posterior), free_bits)


def above_free(kl_Z: Tensor, free_bits: float) -> Tensor:
    """The same from the mean KL of each dimension, [Z]."""
    floor = free_bits * math.log(2) / len(kl_Z)
    return kl_Z.clamp(min=floor).mean()


def mean_or_zero(values_T: Tensor, count: float) -> Tensor:
    """The mean over `count`, and 0 for a batch without such rows."""
    return values_T.sum() / (count or 1)
