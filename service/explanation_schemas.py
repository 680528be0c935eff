"""What travels over HTTP for an explanation."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from service.schemas import Basis, GivenRatings, Id, ModelName, Shortfall, examples


class ExplanationRequest(BaseModel):
    """An item, and ratings nobody stored that may have moved it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "item_id": "1196",
                    "ratings": [
                        {"item_id": "318", "rating": 4.5},
                        {"item_id": "2571", "rating": 5},
                    ],
                }
            ]
        },
    )

    item_id: Id
    ratings: GivenRatings


class ExplainedItem(BaseModel):
    """The item that is explained, as the whole history has it."""

    item_id: str
    title: str
    predicted_rating: float
    preference_score: float
    rating: float | None = Field(
        description="The user's own rating, null if there is none; everything else is computed "
        "without it."
    )


class MovingRating(BaseModel):
    """One of the user's ratings, and what it does to the item."""

    item_id: str
    title: str
    rating: float
    predicted_rating_change: float = Field(
        description="The predicted rating with this rating, minus that without it."
    )
    preference_score_change: float = Field(
        description="The preference score with this rating, minus that without it."
    )


class Explanation(BaseModel):
    """How each of the user's ratings moved one item, those that moved its score most first."""

    model_config = examples(
        {
            "user_id": "1",
            "basis": "history",
            "model": {"version": "20260101-proven", "digest": "9f2c..."},
            "item": {
                "item_id": "1196",
                "title": "Star Wars: Episode V - The Empire Strikes Back",
                "predicted_rating": 4.653,
                "preference_score": 7.412,
                "rating": None,
            },
            "ratings": [
                {
                    "item_id": "260",
                    "title": "Star Wars: Episode IV - A New Hope",
                    "rating": 5.0,
                    "predicted_rating_change": 0.021,
                    "preference_score_change": 0.874,
                }
            ],
        }
    )

    user_id: str | None = Field(description="null for ratings that came in the request")
    basis: Basis
    model: ModelName
    item: ExplainedItem
    ratings: list[MovingRating] = Field(description="Empty for a user without ratings.")
    shortfall: Shortfall | None = Field(
        default=None, description="Present if only some of the user's ratings were left out."
    )
