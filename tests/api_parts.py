"""What tests of the API ask the graphs by hand, and refusals as they must be."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.bundle import Bundle
from models.histories import Histories
from service.schemas import ProblemDocument

TOLERANCE = 0.0011  # 0.001 between batches of different sizes, and the rounding


def session(bundle: Bundle, graph: str) -> ort.InferenceSession:
    path = bundle.recommend_graph if graph == "recommend" else bundle.rate_graph
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def history_feed(history: Histories) -> dict[str, NDArray[Any]]:
    return {
        "history_items": history.items,
        "history_ratings": history.ratings,
        "history_offsets": history.offsets,
    }


def without(history: Histories, index: int) -> Histories:
    kept = np.array([item != index for item in history.items])
    items = history.items[kept]
    return Histories(items, history.ratings[kept], np.array([0, len(items)], np.int64))


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert response.status_code == status, response.text
    document: dict[str, Any] = response.json()
    ProblemDocument.model_validate(document)
    assert document["status"] == status
    return document
