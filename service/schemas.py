"""What travels over HTTP: the shapes of requests and answers, their bounds and examples.

Bounds that need no model stand here; whether an item, a genre or a rating exists on the model's
scale is the recommender's to say.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_K = 100
MAX_RATINGS = 10_000
MAX_USERS = 100
MAX_ITEMS = 1_000
MAX_EXCLUDED = 10_000
ID_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"
is_id = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
ExcludedIds = Annotated[tuple[Id, ...], Field(max_length=MAX_EXCLUDED)]
Year = Annotated[int, Field(ge=0, le=9999)]
RatedAt = Annotated[int, Field(ge=0, le=253_402_300_799)]  # Unix seconds, to the year 9999


def examples(*shown: dict[str, Any]) -> ConfigDict:
    """A model's configuration that shows examples in the document."""
    return ConfigDict(json_schema_extra={"examples": list(shown)})


class Narrowing(BaseModel):
    """Which items may be answered, by what they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    genre: Annotated[tuple[Annotated[str, Field(max_length=128)], ...], Field(max_length=64)] = (
        Field(
            default=(), description="Only items of this genre; given several times, of any of them."
        )
    )
    year_min: Year | None = Field(default=None, description="Only items of this year or later.")
    year_max: Year | None = Field(default=None, description="Only items of this year or earlier.")

    @model_validator(mode="after")
    def _years_in_order(self) -> Self:
        earliest, latest = self.year_min, self.year_max
        if earliest is not None and latest is not None and earliest > latest:
            raise ValueError("year_min is later than year_max")
        return self


class Selection(Narrowing):
    """How many items, and which ones may be among them."""

    k: int = Field(default=10, ge=1, le=MAX_K, description="How many items to answer with.")
    exclude: ExcludedIds = Field(default=(), description="Items that must not be in the answer.")
    include_seen: bool = Field(
        default=False, description="Items the user has rated may be answered too."
    )

    @cached_property
    def canonical(self) -> str:
        """One text for one meaning: order and repetition of ids and genres do not matter."""
        chosen = [sorted(set(self.exclude)), sorted(set(self.genre)), self.year_min, self.year_max]
        return json.dumps([self.k, *chosen, self.include_seen], separators=(",", ":"))


class GivenRating(BaseModel):
    """One rating sent along with a request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: Id
    rating: Annotated[float, Field(allow_inf_nan=False)]
    rated_at: RatedAt | None = Field(
        default=None,
        description="Unix seconds. For models that use time; the present one predicts without it.",
    )


GivenRatings = Annotated[tuple[GivenRating, ...], Field(max_length=MAX_RATINGS)]


class RecommendationRequest(Selection):
    """Recommendations for ratings nobody stored, or for many users at once."""

    model_config = examples(
        {"ratings": [{"item_id": "318", "rating": 4.5}, {"item_id": "2571", "rating": 5}], "k": 3},
        {"user_ids": ["1", "414"], "k": 5, "genre": ["Comedy"]},
    )

    ratings: GivenRatings | None = None
    user_ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_USERS)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.ratings is None) == (self.user_ids is None):
            raise ValueError("give either ratings or user_ids")
        return self


class PredictionRequest(BaseModel):
    """Ratings to predict, for a user or for ratings nobody stored."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"user_id": "1", "item_ids": ["318", "2571"]},
                {"ratings": [{"item_id": "318", "rating": 4.5}], "item_ids": ["2571"]},
            ]
        },
    )

    user_id: Id | None = None
    ratings: GivenRatings | None = None
    item_ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_ITEMS)]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.ratings is None) == (self.user_id is None):
            raise ValueError("give either user_id or ratings")
        return self


class NewRating(BaseModel):
    """A rating to keep for a user."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"rating": 4.5}, {"rating": 3, "rated_at": 1700000000}]},
    )

    rating: Annotated[float, Field(allow_inf_nan=False)]
    rated_at: RatedAt | None = Field(default=None, description="Unix seconds; null: now.")


class NewRatings(BaseModel):
    """All that a user has rated from now on."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"ratings": [{"item_id": "318", "rating": 4.5}]}]},
    )

    ratings: GivenRatings


class ListedRating(BaseModel):
    """One of a user's ratings."""

    item_id: str
    title: str | None = Field(description="null of an item the present model does not have")
    year: int | None = Field(description="null where unknown")
    rating: float
    rated_at: int | None = Field(description="Unix seconds; null of ratings trained on")
    counts: bool = Field(
        description="Whether the present model uses it: it has the item, and the rating is on its "
        "scale."
    )


class UserRating(ListedRating):
    """One rating and whose it is."""

    user_id: str


class UserRatingList(BaseModel):
    """A user's ratings, by item id: those trained on, with what was changed since."""

    user_id: str
    ratings: list[ListedRating]


class Interval(BaseModel):
    """Where the rating is expected to lie, with the share of ratings that should be inside."""

    low: float
    high: float
    coverage: float


class ModelName(BaseModel):
    """Which model answered."""

    version: str
    digest: str


Basis = Literal["history", "cold_start"]


class RecommendedItem(BaseModel):
    """One item of a top k."""

    item_id: str
    title: str
    year: int | None = Field(description="null where unknown")
    genres: list[str]
    preference_score: float = Field(description="What ranks the items; it has no unit.")
    predicted_rating: float
    interval: Interval
    rating: float | None = Field(
        default=None,
        description="The user's own rating, where items already rated were asked for; the "
        "predicted rating beside it is computed without it.",
    )


class Shortfall(BaseModel):
    """Why there are fewer than asked for."""

    requested: int
    returned: int
    detail: str


class Recommendations(BaseModel):
    """A user's top k."""

    model_config = examples(
        {
            "user_id": "1",
            "basis": "history",
            "model": {"version": "20260101-proven", "digest": "9f2c..."},
            "items": [
                {
                    "item_id": "1196",
                    "title": "Star Wars: Episode V - The Empire Strikes Back",
                    "year": 1980,
                    "genres": ["Action", "Adventure", "Sci-Fi"],
                    "preference_score": 7.412,
                    "predicted_rating": 4.653,
                    "interval": {"low": 3.528, "high": 5.0, "coverage": 0.8},
                }
            ],
        }
    )

    user_id: str | None = Field(description="null for ratings that came in the request")
    basis: Basis
    model: ModelName
    items: list[RecommendedItem]
    shortfall: Shortfall | None = Field(
        default=None, description="Present if fewer than k items remained."
    )


class ManyRecommendations(BaseModel):
    """One answer for each user, in the order they were asked for."""

    answers: list[Recommendations]


class PredictedItem(BaseModel):
    """One predicted rating."""

    item_id: str
    title: str
    predicted_rating: float
    interval: Interval
    rating: float | None = Field(
        description="The user's own rating, null if there is none; the predicted rating is "
        "computed without it."
    )


class Predictions(BaseModel):
    """Predicted ratings, in the order of the request's items."""

    user_id: str | None
    basis: Basis
    model: ModelName
    items: list[PredictedItem]


class FaultDocument(BaseModel):
    """One part of a request that was at fault."""

    where: str
    detail: str


class ProblemDocument(BaseModel):
    """RFC 9457: what was wrong, for people and for programs."""

    model_config = examples(
        {
            "type": "urn:usher:problem:invalid-request",
            "title": "The request breaks a bound",
            "status": 422,
            "detail": "query k: Input should be less than or equal to 100.",
            "instance": "urn:usher:request:5f0c2b9e7d1a4e8f93b6c0d2a1e4f758",
            "errors": [
                {"where": "query k", "detail": "Input should be less than or equal to 100."}
            ],
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str = Field(description="Names the request: X-Request-ID as a URN.")
    errors: list[FaultDocument] | None = None
