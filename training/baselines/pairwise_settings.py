"""Every choice of the pairwise VAE in one record, and the two settings the source notes name.

What the notes leave open is decided as for HybridVAE, with one rating in the place of one user: KL
is in nats per rating and latent dimension (mean over both), free bits are bits per rating, shared
evenly by the latent dimensions.
"""

from __future__ import annotations

from pydantic import Field

from training.config import KullbackLeibler
from training.section import Section


class PairwiseSettings(Section):
    """Settings of the pairwise VAE; the defaults are the notes' proven ones."""

    n_factors: int = Field(default=150, gt=0)
    """Width of a user embedding, and of an item embedding."""
    hidden_dims: tuple[int, ...] = Field(default=(512, 256, 128), min_length=1)
    """Widths of the encoder's layers; the decoder has them in reverse."""
    latent_dim: int = Field(default=64, gt=0)
    dropout: float = Field(default=0.4, ge=0, lt=1)
    batch_ratings: int = Field(default=2048, gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    """Step size of Adam."""
    kl: KullbackLeibler = KullbackLeibler(weight=0.01, annealing_epochs=0, free_bits=0.0)
    warmup_epochs: int = Field(default=0, ge=0)
    """The learning rate rises linearly over these epochs."""
    reduce_on_plateau: bool = False
    """Halve the learning rate after `plateau_patience` epochs without a better validation RMSE."""
    plateau_patience: int = Field(default=4, ge=0)
    averaging_from: float | None = Field(default=None, gt=0, lt=1)
    """Share of max_epochs after which weights are averaged, at every epoch's end."""
    patience: int = Field(default=15, gt=0)
    """Epochs without a better validation RMSE before training ends; never before averaging."""
    max_epochs: int = Field(default=100, gt=0)
    max_seconds: float | None = Field(default=None, gt=0)
    """Training ends once it has taken this long, if need be within an epoch."""

    @property
    def first_averaged_epoch(self) -> int | None:
        """The epoch, counted from 1, at whose end averaging begins."""
        return (
            None if self.averaging_from is None else int(self.averaging_from * self.max_epochs) + 1
        )


PROVEN = PairwiseSettings()
SCALED = PairwiseSettings(
    n_factors=200,
    hidden_dims=(640, 384, 192),
    latent_dim=80,
    dropout=0.38,
    learning_rate=4e-4,
    kl=KullbackLeibler(weight=0.008, schedule="cosine", annealing_epochs=100, free_bits=2.0),
    warmup_epochs=5,
    reduce_on_plateau=True,
    averaging_from=0.8,
)
