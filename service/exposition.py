"""/metrics: the counts of all workers together, in Prometheus' text format."""

from __future__ import annotations

import os

from anyio import to_thread
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def create_exposition() -> Starlette:
    """An application with the one route."""
    return Starlette(routes=[Route("/metrics", _metrics)])


async def _metrics(request: Request) -> Response:
    text = await to_thread.run_sync(_collect)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _collect() -> bytes:
    """BentoML names a folder in which workers share their counts; without it there is only us."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)
