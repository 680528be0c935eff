"""Items: the catalogue searched, one item, and the items that are like it."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from service.api.responses import json_response
from service.item_schemas import ItemCard, ItemPage, ItemQuery, SimilarItems, SimilarQuery
from service.schemas import Id
from service.serving import Serving

ItemId = Annotated[Id, Path(description="An item of the catalogue.", examples=["1"])]


def add_routes(api: FastAPI, serving: Serving) -> None:
    """Add the routes that tell of items."""

    @api.get("/v1/items", response_model=ItemPage, summary="Items by title, genre and year")
    async def items(request: Request, asked: Annotated[ItemQuery, Query()]) -> Response:
        return json_response(serving.current().catalogue.page(asked))

    @api.get("/v1/items/{item_id}", response_model=ItemCard, summary="One item")
    async def item(request: Request, item_id: ItemId) -> Response:
        return json_response(serving.current().catalogue.card(item_id))

    @api.get(
        "/v1/items/{item_id}/similar",
        response_model=SimilarItems,
        summary="The items that are most like one",
    )
    async def similar(
        request: Request, item_id: ItemId, asked: Annotated[SimilarQuery, Query()]
    ) -> Response:
        return json_response(serving.current().catalogue.similar(item_id, asked))
