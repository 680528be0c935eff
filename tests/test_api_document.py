"""The OpenAPI document: what it holds, and that it is kept to.

Schemathesis makes requests from it: whatever the document allows is answered in a shape that it
promises and is no mistake of ours.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings

from models.bundle import Bundle
from service.schemas import Selection
from tests.service_fixtures import RedisServer, running_service

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import warns of what it imports
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
EXAMPLES = 30


def test_the_document_is_openapi_3_1_with_examples(client: httpx.Client) -> None:
    document = client.get("/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    get = document["paths"]["/v1/users/{user_id}/recommendations"]["get"]
    query = {p["name"] for p in get["parameters"] if p["in"] == "query"}
    assert query == set(Selection.model_fields)
    assert set(document["paths"]) == {
        "/v1/users/{user_id}/recommendations",
        "/v1/users/{user_id}/recommendations/{item_id}/explanation",
        "/v1/recommendations",
        "/v1/predictions",
        "/v1/users/{user_id}/ratings",
        "/v1/users/{user_id}/ratings/{item_id}",
        "/v1/items",
        "/v1/items/{item_id}",
        "/v1/items/{item_id}/similar",
        "/v1/model",
        "/v1/users",
        "/v1/explanations",
    }
    schemas = document["components"]["schemas"]
    for name in (
        "RecommendationRequest", "PredictionRequest", "ExplanationRequest", "NewRating",
        "ProblemDocument", "UserPage",
    ):  # fmt: skip
        assert schemas[name]["examples"], name
    for path in document["paths"].values():
        for operation in path.values():
            assert "422" not in operation["responses"], "FastAPI's own shape of errors is not ours"
            assert "application/problem+json" in operation["responses"]["default"]["content"]


def test_the_documents_references_lead_somewhere(client: httpx.Client) -> None:
    text = client.get("/v1/openapi.json").text
    schemas = json.loads(text)["components"]["schemas"]
    references = [part.split('"', 1)[0] for part in text.split("#/components/schemas/")[1:]]
    assert references
    assert set(references) <= set(schemas)


def test_answers_are_as_documented(
    tmp_path: Path, redis_server: RedisServer, bundle: Bundle
) -> None:
    """On a service of its own, for some of the requests give ratings and take them back."""
    environment = {"USHER_MODEL": str(bundle.path), "USHER_RATINGS_URL": redis_server.url}
    asked = {}
    with running_service(tmp_path, **environment) as service:
        document = service.client.get("/v1/openapi.json").json()
        operations: Any = schemathesis.openapi.from_dict(document).get_all_operations()
        for operation in (found.ok() for found in operations):
            asked[operation.path, operation.method] = statuses_of(operation, service.url)
        assert "Traceback" not in service.log.read_text()
    assert {path for path, _ in asked} == set(document["paths"])
    assert all(asked.values())
    assert 204 in asked["/v1/users/{user_id}/ratings", "delete"]


def statuses_of(operation: Any, url: str) -> set[int]:
    """What requests to one operation were answered with; fails if one is not as documented."""
    statuses = set()

    @given(case=operation.as_strategy())
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        statuses.add(case.call_and_validate(base_url=url, checks=CHECKS).status_code)

    ask()
    return statuses
