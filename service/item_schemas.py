"""What travels over HTTP of the catalogue: searches, items and their neighbours."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.schemas import MAX_K, ModelName, Narrowing, Shortfall, examples

MAX_QUERY = 200
MAX_LIMIT = 100
MAX_OFFSET = 1_000_000

_MODEL = {"version": "20260101-proven", "digest": "9f2c..."}
_TOY_STORY = {
    "item_id": "1",
    "title": "Toy Story",
    "year": 1995,
    "genres": ["Adventure", "Animation", "Children", "Comedy", "Fantasy"],
    "rating_count": 193,
}


class ItemQuery(Narrowing):
    """Which items of the catalogue, and which page of them."""

    query: str | None = Field(
        default=None,
        max_length=MAX_QUERY,
        description="Words that all occur in the title; case, accents and punctuation do not "
        "matter. Titles that are the query come first, then those that begin with it, then the "
        "others; the most rated first.",
        examples=["toy story"],
    )
    limit: int = Field(default=20, ge=1, le=MAX_LIMIT, description="How many items a page has.")
    offset: int = Field(default=0, ge=0, le=MAX_OFFSET, description="How many items to skip.")


class SimilarQuery(Narrowing):
    """How many neighbours of an item, and which ones may be among them."""

    k: int = Field(default=10, ge=1, le=MAX_K, description="How many items to answer with.")


class CatalogueItem(BaseModel):
    """An item of the catalogue."""

    item_id: str
    title: str
    year: int | None = Field(description="null where unknown")
    genres: list[str]
    rating_count: int = Field(description="Ratings of it that the model was trained on.")


class ItemCard(CatalogueItem):
    """One item by itself."""

    model_config = examples({"model": _MODEL, **_TOY_STORY})

    model: ModelName


class ItemPage(BaseModel):
    """A page of the items that were asked for."""

    model_config = examples(
        {"model": _MODEL, "total": 3, "limit": 1, "offset": 0, "items": [_TOY_STORY]}
    )

    model: ModelName
    total: int = Field(description="How many items there are, on this page and all others.")
    limit: int
    offset: int
    items: list[CatalogueItem]


class SimilarItem(CatalogueItem):
    """A neighbour of an item."""

    similarity: float = Field(
        description="Cosine of what the model knows of the two items, less the fewer ratings it "
        "knows them from; at most 1."
    )


class SimilarItems(BaseModel):
    """The nearest neighbours of an item, nearest first."""

    model_config = examples(
        {
            "model": _MODEL,
            "item": _TOY_STORY,
            "items": [
                {
                    "item_id": "6377",
                    "title": "Finding Nemo",
                    "year": 2003,
                    "genres": ["Adventure", "Animation", "Children", "Comedy"],
                    "rating_count": 127,
                    "similarity": 0.289,
                }
            ],
        }
    )

    model: ModelName
    item: CatalogueItem
    items: list[SimilarItem]
    shortfall: Shortfall | None = Field(
        default=None,
        description="Present if fewer than k items remained: filters apply to the 100 nearest.",
    )
