"""The shape of a HybridVAE: the part of a configuration that its weights depend on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """A part of an architecture: immutable, and nothing beyond the named fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Shallow(Shape):
    """A linear path from liked items to the preference logits: EASE at a rank."""

    rank: int = Field(400, ge=1)
    """Numbers an item weighs on each side of the path."""
    lambda_: float = Field(1000.0, gt=0)
    """Ridge penalty of EASE."""


class RaterEncoding(Shape):
    """Items encoded from the training users who rated them (models.networks.rater_encoding)."""

    width: int = Field(32, ge=1)
    """Width D of a training user's vector; nothing of them is served."""
    sample: int = Field(32, ge=1)
    """Raters drawn an item and step; in the end all of them count."""
    free_factors: bool = False
    """Whether an item also keeps free rating factors, which memorise, beside the encoded ones."""


class Architecture(Shape):
    """Sizes and dropout rates of one HybridVAE; saved with its checkpoint and in the manifest."""

    n_factors: int = Field(150, ge=1)
    """Width F of an item's embedding and of its factors in both heads."""
    hidden_dims: tuple[Annotated[int, Field(ge=1)], ...] = Field((512, 256, 128), min_length=1)
    """Widths of the encoder's layers; the decoder has them in reverse."""
    latent_dim: int = Field(64, ge=1)
    """Number Z of latent dimensions."""
    dropout: float = Field(0.4, ge=0, lt=1)
    """Share of activations dropped in every hidden layer while training."""
    skip_connections: bool = True
    """Whether every layer of the decoder, and the heads, see the latent vector directly."""
    input_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the pooled history dropped before the first layer while training."""
    shallow: Shallow | None = None
    """The shallow path beside the deep one; none if not given."""
    likelihood: Literal["gaussian", "ordinal"] = "gaussian"
    """How a rating is distributed: around the prediction, or over the levels by cut-points."""
    attention_dim: int = Field(0, ge=0)
    """Width of keys and values of the target item's attention over the history; 0: none."""
    upper_latent_dim: int = Field(0, ge=0)
    """Dimensions of a latent above the first, inferred from genres and decades; 0: none."""
    item_features: bool = False
    """Whether items share, while training, what those of their genres and decade have learnt."""
    spectral_norm: bool = False
    """Whether the linear layers of encoder and decoder are kept at a largest singular value of 1
    while training."""
    rater_encoding: RaterEncoding | None = None
    """How items are encoded from their raters while training; None: they are free parameters."""
