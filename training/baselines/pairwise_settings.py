"""Every choice of the pairwise VAE in one record, and the two settings the source notes name.

Two things the notes leave open are fixed here. The KL term is that of one rating, in nats, summed
over the latent dimensions and averaged over the batch. Free bits are in the same unit: the first
`free_nats` of that average cost nothing (2 nats hold one rating of ten levels, ln 10 = 2.3, but
for the odd one).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PairwiseSettings(BaseModel):
    """Settings of the pairwise VAE; the defaults are the notes' proven ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_factors: int = Field(default=150, gt=0)
    hidden_dims: tuple[int, ...] = Field(default=(512, 256, 128), min_length=1)
    latent_dim: int = Field(default=64, gt=0)
    dropout: float = Field(default=0.4, ge=0, lt=1)
    batch_ratings: int = Field(default=2048, gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    kl_weight: float = Field(default=0.01, ge=0)
    kl_schedule: Literal["constant", "cosine"] = "constant"
    """cosine: from 0 in the first epoch to `kl_weight` in the last."""
    free_nats: float = Field(default=0.0, ge=0)
    warmup_epochs: int = Field(default=0, ge=0)
    """The learning rate rises linearly over these epochs."""
    reduce_on_plateau: bool = False
    """Halve the learning rate after 5 epochs without a better validation RMSE."""
    average_from: float | None = Field(default=None, gt=0, lt=1)
    """Average the weights at each epoch's end from this part of `max_epochs` on."""
    patience: int = Field(default=15, gt=0)
    """Stop after this many epochs without a better validation RMSE."""
    max_epochs: int = Field(default=100, gt=0)
    max_seconds: float | None = Field(default=None, gt=0)
    """Stop once training has taken this long; part of the last epoch may be missing."""


PROVEN = PairwiseSettings()
SCALED = PairwiseSettings(
    n_factors=200,
    hidden_dims=(640, 384, 192),
    latent_dim=80,
    dropout=0.38,
    learning_rate=4e-4,
    kl_weight=0.008,
    kl_schedule="cosine",
    free_nats=2.0,
    warmup_epochs=5,
    reduce_on_plateau=True,
    average_from=0.8,
)
