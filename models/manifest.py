"""The manifest of a bundle: what the model is, how good it is, and what every file must be.

Immutable records that refuse unknown fields; `models.bundle` writes, reads and verifies them.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION: Literal[4] = 4


class Record(BaseModel):
    """A part of the manifest: immutable, and nothing beyond the named fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


STEP_TOLERANCE = 1e-3


class RatingScale(Record):
    """The values a rating can take: minimum, minimum + step, ... maximum."""

    minimum: float
    maximum: float
    step: float = Field(gt=0)

    @property
    def levels(self) -> NDArray[np.float32]:
        """float32 [L]: every rating on the scale, ascending."""
        count = round((self.maximum - self.minimum) / self.step) + 1
        return (self.minimum + self.step * np.arange(count)).astype(np.float32)

    def contains(self, rating: float) -> bool:
        """Whether a rating is one of the scale's, within a thousandth of a step."""
        steps = (rating - self.minimum) / self.step
        on_a_step = abs(steps - round(steps)) <= STEP_TOLERANCE
        return on_a_step and self.minimum <= rating <= self.maximum


class TensorSpec(Record):
    """One input or output of a graph; a string in `shape` names a dimension that varies."""

    name: str
    dtype: Literal["int64", "float32", "bool"]
    shape: tuple[int | str, ...]


class GraphSpec(Record):
    """One ONNX graph and the names by which the service calls it."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class DataRecord(Record):
    """Where the ratings came from. `digest` is the SHA-256 of the parsed rating columns."""

    source: str
    licence: str
    digest: str
    users: int
    items: int
    ratings: int


class ProtocolRecord(Record):
    """How the held-out figures were made."""

    name: str
    seed: int
    split_digest: str
    fit_rows: int
    test_rows: int


class Calibration(Record):
    """The interval is rating +- multiplier * spread, clipped to the scale.

    `coverage` is the share of ratings it should contain; `measured` the share of the test rows it
    did contain.
    """

    coverage: float
    multiplier: float
    measured: float | None = None


class Parity(Record):
    """How the exported graphs compared with torch on the same histories."""

    histories: int
    max_abs_difference: float
    identical_top_k: float
    narrowed_by: float = Field(
        0.0, description="how far factors in half precision move a predicted rating at most"
    )


class FileDigest(Record):
    """What one file must be."""

    sha256: str
    bytes: int


class Description(Record):
    """Everything the writer of a bundle says about it."""

    version: str
    created_at: str
    code_version: str
    as_of: int | None = Field(description="Unix seconds predictions are made as of, if dated")
    rating_scale: RatingScale
    liked_from: float
    data: DataRecord
    protocol: ProtocolRecord
    configuration: dict[str, Any]
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    calibration: Calibration
    parity: Parity
    parity_int8: Parity | None
    top_k: int = Field(description="The largest K that may be asked for")
    recommend: GraphSpec
    recommend_int8: GraphSpec | None = Field(description="The same answers, selected on int8")
    rate: GraphSpec


class Manifest(Description):
    """A description, and what pins it to the files."""

    format_version: Literal[4]
    files: dict[str, FileDigest]
