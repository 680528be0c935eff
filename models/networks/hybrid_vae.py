"""HybridVAE: a user is encoded from the history, one pass answers for all items.

Shapes: B users (rows of a batch), N ratings in their histories (flat layout, see
models.histories), T named (user, item) pairs, I items, L rating levels, F factors, H hidden,
Z latent. All floats are float32.

The encoder is that of a variational autoencoder for collaborative filtering (Liang et al. 2018,
"Variational Autoencoders for Collaborative Filtering") with stars: every rated item contributes
its embedding through a linear map of its rating level. Summing first and mapping afterwards gives
the same numbers for L * F * H multiplications a user, whatever the length of the history.
The decoder feeds two heads: *preference* (multinomial logits over all items, which rank) and
*rating* (biased matrix factorisation with the decoded user vector, plus a spread). The user's bias
is the closed form of the bias model in the history (Koren, Bell and Volinsky 2009) plus a learned
correction, and `start_items` sets the item side to what counting tells: fitting begins at the bias
model and at popularity, and a network that learns nothing is no worse.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.architecture import Architecture
from models.networks.attention import attention_of
from models.networks.flat import rows_of, sum_by_row
from models.networks.hierarchy import hierarchy_of
from models.networks.latent import LOG_VARIANCE_RANGE, Posterior
from models.networks.levels import nearest_level
from models.networks.likelihoods import likelihood_of
from models.networks.perceptron import perceptron
from models.networks.selectors import PreferenceTable
from models.networks.shallow import ShallowPath

USER_RIDGE = 5.0  # ratings of the mean that a user's bias is shrunk by, to begin with


class Direct(NamedTuple):
    """What goes from a history to the heads past the latent space."""

    bias_B: Tensor
    kept_BS: Tensor
    """What attention keeps of the history; S is 0 without it."""


class UserVectors(NamedTuple):
    """What the decoder says of each user: the user's side of both heads."""

    preference_BF: Tensor
    rating_BF: Tensor
    bias_B: Tensor
    log_spread_B: Tensor
    kept_BS: Tensor
    votes_BR: Tensor | None = None
    """What the shallow path makes of the history, if there is one; only ranking asks for it."""


class HybridVAE(nn.Module):
    """The network; `training.fitting.trainer` fits it and `models.networks.graphs` exports it."""

    def __init__(
        self,
        architecture: Architecture,
        items: int,
        levels: Tensor,
        rating_mean: float,
        features_IA: Tensor | None = None,
    ) -> None:
        """Build an untrained network for I `items`.

        levels: float32 [L], L >= 2 evenly spaced ratings, ascending. rating_mean: the mean of
        the training ratings. features_IA: float32 [I, A], the groups each item belongs to; needed
        for a latent above the first alone.
        """
        super().__init__()
        self.architecture = architecture
        factors, latent = architecture.n_factors, architecture.latent_dim
        hidden = architecture.hidden_dims
        self.levels_L: Tensor
        self.rating_mean: Tensor
        self.register_buffer("levels_L", levels.to(torch.float32))
        self.register_buffer("rating_mean", torch.tensor(float(rating_mean)))
        self.item_embedding = nn.Parameter(torch.randn(items, factors) * 0.5)
        self.input_dropout = nn.Dropout(architecture.input_dropout)
        self.encoder = perceptron((len(levels) * factors, *hidden), architecture.dropout)
        self.to_mean = nn.Linear(hidden[-1], latent)
        self.to_log_variance = nn.Linear(hidden[-1], latent)
        # A narrow posterior at first: noise as wide as the prior drowns a signal still forming.
        nn.init.constant_(self.to_log_variance.bias, -4.0)
        decoded = latent + architecture.upper_latent_dim
        skipped = decoded if architecture.skip_connections else 0
        widths = (decoded, *reversed(hidden))
        self.decoder = nn.ModuleList(
            perceptron((inputs + skipped * (depth > 0), outputs), architecture.dropout)
            for depth, (inputs, outputs) in enumerate(itertools.pairwise(widths))
        )
        self.to_preference = nn.Linear(hidden[0] + skipped, factors)
        self.to_rating = nn.Linear(hidden[0] + skipped, factors)
        self.to_bias_and_spread = nn.Linear(hidden[0] + skipped, 2)
        nn.init.zeros_(self.to_bias_and_spread.weight)
        self.preference_factors = nn.Parameter(torch.randn(items, factors) * 0.05)
        self.preference_bias = nn.Parameter(torch.zeros(items))
        self.rating_factors = nn.Parameter(torch.randn(items, factors) * 0.05)
        self.rating_bias = nn.Parameter(torch.zeros(items))
        self.log_spread = nn.Parameter(torch.zeros(items))
        self.log_user_ridge = nn.Parameter(torch.tensor(math.log(USER_RIDGE)))
        shallow = architecture.shallow
        self.shallow = ShallowPath(items, len(levels), shallow.rank) if shallow else None
        self.likelihood = likelihood_of(architecture, levels)
        self.attention = attention_of(factors, architecture.attention_dim)
        self.hierarchy = hierarchy_of(architecture, features_IA)

    @torch.no_grad()
    def start_items(self, rating_bias_I: Tensor, preference_bias_I: Tensor) -> None:
        """Set the item side of both heads to estimates made by counting, each float32 [I]."""
        self.rating_bias.copy_(rating_bias_I)
        self.preference_bias.copy_(preference_bias_I)

    @torch.no_grad()
    def start_rating_factors(self, factors_IK: Tensor) -> None:
        """Set the first K rating factors of every item, float32 [I, K], K at most F."""
        self.rating_factors[:, : factors_IK.shape[1]] = factors_IK

    def users_of(self, items_N: Tensor, ratings_N: Tensor, offsets: Tensor) -> UserVectors:
        """Fold histories in: the posterior mean, decoded. offsets: int64 [B + 1]."""
        history = (items_N, ratings_N, rows_of(offsets, items_N), offsets.shape[0] - 1)
        users = self.decode(self.encode(*history).mean_BZ, self.direct(*history))
        return self.with_votes(users, *history)

    def with_votes(
        self,
        vectors: UserVectors,
        items_N: Tensor,
        ratings_N: Tensor,
        rows_N: Tensor,
        users: int,
    ) -> UserVectors:
        """The same users with what the shallow path makes of their histories, for `logits`."""
        if self.shallow is None:
            return vectors
        votes_BR = self.shallow.pool(items_N, self.level_of(ratings_N), rows_N, users)
        return vectors._replace(votes_BR=votes_BR)

    def encode(self, items_N: Tensor, ratings_N: Tensor, rows_N: Tensor, users: int) -> Posterior:
        """Encode `users` histories; rows_N says whose each rating is. Empty histories are valid."""
        hidden_BH = self.encoder(self.input_dropout(self.pool(items_N, ratings_N, rows_N, users)))
        log_variance_BZ = self.to_log_variance(hidden_BH).clamp(*LOG_VARIANCE_RANGE)
        lower = Posterior(self.to_mean(hidden_BH), log_variance_BZ)
        left_N = self.residuals(items_N, ratings_N)
        return self.hierarchy.joint(lower, items_N, left_N, rows_N, users)

    def pool(self, items_N: Tensor, ratings_N: Tensor, rows_N: Tensor, users: int) -> Tensor:
        """Sum the embeddings of a history per rating level, over sqrt(n + 1): [B, L * F]."""
        levels = len(self.levels_L)
        embedded_NF = functional.embedding(items_N, self.item_embedding)
        pooled = embedded_NF.new_zeros(users * levels, embedded_NF.shape[1])
        pooled = pooled.index_put(
            (rows_N * levels + self.level_of(ratings_N),), embedded_NF, accumulate=True
        )
        count_B = sum_by_row(torch.ones_like(ratings_N), rows_N, users)
        return pooled.reshape(users, -1) / torch.sqrt(count_B + 1)[:, None]

    def level_of(self, ratings_N: Tensor) -> Tensor:
        """The nearest level's number, int64 [N]."""
        return nearest_level(ratings_N, self.levels_L)

    def direct(self, items_N: Tensor, ratings_N: Tensor, rows_N: Tensor, users: int) -> Direct:
        """What the heads are told of `users` histories past the latent space."""
        bias_B = self.history_bias(items_N, ratings_N, rows_N, users)
        left_N = self.residuals(items_N, ratings_N) - bias_B.index_select(0, rows_N)
        kept_BS = self.attention.keep(self.item_embedding, items_N, left_N, rows_N, users)
        return Direct(bias_B, kept_BS)

    def residuals(self, items_N: Tensor, ratings_N: Tensor) -> Tensor:
        """What the mean and the items' biases leave of ratings, [N]."""
        return ratings_N - self.rating_mean - self.rating_bias.index_select(0, items_N)

    def history_bias(
        self, items_N: Tensor, ratings_N: Tensor, rows_N: Tensor, users: int
    ) -> Tensor:
        """The ridge estimate of each user's bias given the items' biases, [B]; 0 if empty."""
        left_N = self.residuals(items_N, ratings_N)
        count_B = sum_by_row(torch.ones_like(ratings_N), rows_N, users)
        return sum_by_row(left_N, rows_N, users) / (count_B + self.log_user_ridge.exp())

    def decode(self, z_BZ: Tensor, direct: Direct) -> UserVectors:
        """The user's side of both heads, from a point of the latent space and past it.

        With skip connections every layer sees z beside the layer below (Dieng et al. 2019,
        "Avoiding latent variable collapse with generative skip models").
        """
        hidden_BH = self.decoder[0](z_BZ)
        for layer in self.decoder[1:]:
            hidden_BH = layer(self._beside(hidden_BH, z_BZ))
        hidden_BH = self._beside(hidden_BH, z_BZ)
        bias_B, log_spread_B = self.to_bias_and_spread(hidden_BH).unbind(dim=1)
        return UserVectors(
            self.to_preference(hidden_BH),
            self.to_rating(hidden_BH),
            direct.bias_B + bias_B,
            log_spread_B,
            direct.kept_BS,
        )

    def _beside(self, hidden_BH: Tensor, z_BZ: Tensor) -> Tensor:
        return torch.cat([hidden_BH, z_BZ], 1) if self.architecture.skip_connections else hidden_BH

    def logits(self, users: UserVectors) -> Tensor:
        """Preference scores of every item, [B, I]: they rank."""
        return functional.linear(self.preference(users), *self.preference_table())

    def preference(self, users: UserVectors) -> Tensor:
        """The users' side of ranking, [B, D]: the decoder's, and the shallow path's beside it."""
        if self.shallow is None:
            return users.preference_BF
        if users.votes_BR is None:
            raise ValueError("Ranking asks for the votes of histories: see with_votes.")
        return torch.cat([users.preference_BF, self.shallow.sharpened(users.votes_BR)], dim=1)

    def preference_table(self) -> PreferenceTable:
        """The items' side of ranking."""
        if self.shallow is None:
            return PreferenceTable(self.preference_factors, self.preference_bias)
        factors_ID = torch.cat([self.preference_factors, self.shallow.out_IR], dim=1)
        return PreferenceTable(factors_ID, self.preference_bias)

    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """The preference factors, and the shallow path's beside them: [I, D], of length 1 or 0.

        What all factors share is taken off, for it moves every item alike and ranks none. Either
        path counts for half: users' vectors have another scale in each, so lengths cannot be
        compared.
        """
        factors_IF = self.preference_factors.detach()
        paths = [functional.normalize(factors_IF - factors_IF.mean(dim=0), dim=1)]
        if self.shallow is not None:
            paths.append(functional.normalize(self.shallow.out_IR, dim=1))
        return functional.normalize(torch.cat(paths, dim=1), dim=1)

    def deep_logits(self, users: UserVectors) -> Tensor:
        """Those of the decoder, [B, I]; their softmax is the multinomial likelihood."""
        return users.preference_BF @ self.preference_factors.T + self.preference_bias

    def some_logits(
        self, users: UserVectors, items_M: Tensor, rows_T: Tensor, items_T: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Columns items_M of the deep path's logits, [B, M], and entries (rows_T, items_T), [T].

        Items are gathered once: every gathering costs a gradient as large as the table.
        """
        items_C = torch.cat([items_M, items_T])
        factors_CF, bias_C = self.preference_factors[items_C], self.preference_bias[items_C]
        size = [len(items_M), len(items_T)]
        (factors_MF, factors_TF), (bias_M, bias_T) = factors_CF.split(size), bias_C.split(size)
        product_T = (users.preference_BF[rows_T] * factors_TF).sum(dim=1)
        return users.preference_BF @ factors_MF.T + bias_M, product_T + bias_T

    def rate(self, users: UserVectors, rows_T: Tensor, items_T: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted ratings and their spreads, each [T], for user rows_T[t] and item items_T[t].

        Ratings are not clipped to the scale; spreads are standard deviations in rating units.
        """
        return self.likelihood.rate(*self.locate(users, rows_T, items_T))

    def rate_all(self, users: UserVectors) -> Tensor:
        """Predicted ratings of every item, [B, I], as `rate` has them of named pairs."""
        factors_IF = self.rating_factors
        product_BI = users.rating_BF @ factors_IF.T
        bias_BI = users.bias_B[:, None] + self.rating_bias
        spoken_BI = self.attention.read_all(users.kept_BS, factors_IF)
        location_BI = self.rating_mean + bias_BI + product_BI + spoken_BI
        log_spread_BI = users.log_spread_B[:, None] + self.log_spread
        rated, _ = self.likelihood.rate(location_BI.flatten(), log_spread_BI.flatten())
        return rated.view_as(location_BI)

    def locate(self, users: UserVectors, rows_T: Tensor, items_T: Tensor) -> tuple[Tensor, Tensor]:
        """Location in rating units and log-spread of each pair, [T] each, for the likelihood."""
        # They are narrow in a network that is served: see models.networks.narrowing.
        factors_TF = functional.embedding(items_T, self.rating_factors).to(users.rating_BF.dtype)
        product_T = (users.rating_BF.index_select(0, rows_T) * factors_TF).sum(dim=1)
        bias_T = users.bias_B.index_select(0, rows_T) + self.rating_bias.index_select(0, items_T)
        log_spread_T = users.log_spread_B.index_select(0, rows_T) + self.log_spread.index_select(
            0, items_T
        )
        spoken_T = self.attention.read(users.kept_BS, rows_T, factors_TF)
        return self.rating_mean + bias_T + product_T + spoken_T, log_spread_T
