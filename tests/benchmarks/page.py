"""Milliseconds until the page shows something, in headless Chromium over loopback.

    python -m tests.benchmarks.page

Every load has a browser context of its own, so nothing is in its cache. First contentful paint is
what the browser says of itself; the list is there when its ten rows are. The model is a small one.
Writes results/page.json and exits 1 if the median of the first paint is above TARGET_MS.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import warnings
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from playwright.sync_api import Browser, sync_playwright

from service.web.page import PACKED, PLAIN
from tests.benchmarks.serving.record import machine
from tests.browser import chromium
from tests.service_fixtures import ROOT, RedisServer, running_service
from tests.tiny import tiny_bundle
from training.accuracy.revision import revision

TARGET_MS = 300
RECORD = ROOT / "results" / "page.json"
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
LISTED = "() => document.querySelectorAll('#picks > .pick').length ? performance.now() : null"


class Load(NamedTuple):
    """One load: milliseconds from its beginning until something and until the list is shown."""

    painted: float
    listed: float


def load(browser: Browser, url: str) -> Load:
    """Load a user's view with nothing cached."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(url, wait_until="commit")
    listed = float(page.wait_for_function(LISTED).json_value())
    painted = float(page.wait_for_function(PAINT).json_value())
    context.close()
    return Load(painted, listed)


def measure(url: str, loads: int) -> list[Load]:
    """Several loads after one that is not counted, in a browser of their own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        load(browser, url)
        found = [load(browser, url) for _ in range(loads)]
        told = f"Chromium {browser.version}, {platform.machine()}, {os.cpu_count()} cores"
        browser.close()
    print(told)
    return found


def main() -> int:
    """Serve a small model with both Redis, load the page, print and record medians and ranges."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.page", description=__doc__)
    parser.add_argument("--loads", type=int, default=15, help="how often the page is loaded (15)")
    loads = parser.parse_args().loads
    plain, packed = (sum(len(one.body) for one in kind.values()) for kind in (PLAIN, PACKED))
    print(f"{len(PLAIN)} files, {plain:,} bytes, {packed:,} compressed")
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of torch
        folder = Path(name)
        redis = RedisServer(folder)
        redis.start()
        bundle = tiny_bundle(folder / "bundle")
        both = {"USHER_CACHE_URL": redis.url, "USHER_RATINGS_URL": redis.url}
        try:
            with running_service(folder, USHER_MODEL=str(bundle.path), **both) as service:
                found = measure(f"{service.url}/?user=7", loads)
        finally:
            redis.stop()
    painted, listed = ([getattr(one, name) for one in found] for name in Load._fields)
    times = {"first_contentful_paint_ms": painted, "top_10_listed_ms": listed}
    record: dict[str, Any] = {
        "code": revision(ROOT), "machine": machine(), "loads": loads, "target_ms": TARGET_MS,
        "bytes": plain, "compressed_bytes": packed,
    }  # fmt: skip
    for what, each in times.items():
        print(f"{what:28} {median(each):6.0f}  ({min(each):.0f} to {max(each):.0f})")
        record[what] = {"median": round(median(each)), "most": round(max(each))}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    return 0 if median(painted) <= TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
