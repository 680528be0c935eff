"""What travels over HTTP of users: whom the model's histories know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from service.schemas import ModelName, examples

MAX_QUERY = 128
MAX_LIMIT = 100
MAX_OFFSET = 1_000_000_000


class UserQuery(BaseModel):
    """Which users, and which page of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str | None = Field(
        default=None,
        max_length=MAX_QUERY,
        description="A part of the id; case matters. The id that is the query comes first, then "
        "those that begin with it, then the others; of each the shorter ids first, so that "
        "numbers are in order.",
        examples=["41"],
    )
    limit: int = Field(default=20, ge=1, le=MAX_LIMIT, description="How many users a page has.")
    offset: int = Field(default=0, ge=0, le=MAX_OFFSET, description="How many users to skip.")


class KnownUser(BaseModel):
    """A user of the model's histories."""

    user_id: str
    rating_count: int = Field(
        description="Ratings in the history that came with the model; what was given or taken "
        "back since does not count."
    )


class UserPage(BaseModel):
    """A page of the users that were asked for."""

    model_config = examples(
        {
            "model": {"version": "20260101-proven", "digest": "9f2c..."},
            "total": 18,
            "limit": 2,
            "offset": 0,
            "users": [
                {"user_id": "41", "rating_count": 217},
                {"user_id": "410", "rating_count": 119},
            ],
        }
    )

    model: ModelName
    total: int = Field(description="How many users there are, on this page and all others.")
    limit: int
    offset: int
    users: list[KnownUser]
