"""results/bench.json: rows of one run of `make bench`, the ratios they are measured for, and where.

rows     a system, a scenario, a catalogue, a number of connections: medians over rounds
ratios   what one row is of another, within this run: absolute figures move with the machine
graph, start, workers   the figures that no row has
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.serving.bars import Bar

LIBRARIES = ("bentoml", "fastapi", "onnxruntime", "redis", "starlette", "uvicorn", "uvloop")


@dataclass(frozen=True)
class Row:
    """cpu_us_per_request: of all the system's processes. rss_mb: of the one that holds the model.

    rps and latencies are the median round's; a closed loop of so many connections.
    """

    scenario: str
    system: str
    catalogue: str
    connections: int
    workers: int
    rps: float
    cpu_us_per_request: float
    p50_ms: float
    p99_ms: float
    rss_mb: float


def machine(libraries: Sequence[str] = LIBRARIES) -> dict[str, Any]:
    """What it was measured on."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in libraries},
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    models = [line.split(": ", 1)[1] for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def write(path: Path, rows: list[Row], bars: list[Bar], other: dict[str, Any]) -> None:
    """Replace the file."""
    content = {
        "machine": machine(),
        **other,
        "ratios": [asdict(bar) | {"met": bar.met} for bar in bars],
        "rows": [asdict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    half.write_text(json.dumps(content, indent=1) + "\n")
    half.replace(path)
