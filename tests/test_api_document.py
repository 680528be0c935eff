"""The OpenAPI document kept to: schemathesis makes requests from it and checks what comes back.

Whatever the document allows is answered in a shape that it promises and is no mistake of ours.
"""

from __future__ import annotations

import warnings
from typing import Any

from hypothesis import HealthCheck, given, settings

from tests.service_fixtures import Service

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


def test_answers_are_as_documented(service: Service) -> None:
    document = service.client.get("/v1/openapi.json").json()
    asked = {}
    operations: Any = schemathesis.openapi.from_dict(document).get_all_operations()
    for operation in (found.ok() for found in operations):
        asked[operation.path] = statuses_of(operation, service.url)
    assert set(asked) == set(document["paths"])
    assert all(asked.values())


def statuses_of(operation: Any, url: str) -> set[int]:
    """What requests to one operation were answered with; fails if one is not as documented."""
    statuses = set()

    @given(case=operation.as_strategy())
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        statuses.add(case.call_and_validate(base_url=url, checks=CHECKS).status_code)

    ask()
    return statuses
