"""A real browser for the page's tests: headless Chromium, and tabs that notice every trouble.

Playwright drives the Chromium that the system has; none is downloaded. A tab that is closed fails
its test if the page complained on the console, threw, or asked another origin for anything.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from models.bundle import Bundle
from tests.service_fixtures import (
    PATIENT_CACHE,
    ROOT,
    RedisServer,
    Service,
    await_condition,
    running_service,
)

PATIENCE_MS = 15_000  # a busy test machine must not fail what is only slow
SCREENSHOTS = ROOT / ".usher" / "screenshots"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
}

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Tab:
    """One tab on one service. `refusals`: statuses the test wants the service to answer with."""

    page: Page
    origin: str
    refusals: set[int] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Take down what goes wrong from now on."""
        self.page.on("console", self._read_console)
        self.page.on("pageerror", lambda error: self.troubles.append(f"thrown: {error}"))
        self.page.on("request", self._read_request)

    def open(self, address: str = "") -> None:
        """Go to an address of the page and wait for what it shows."""
        self.page.goto(f"{self.origin}/{address}")
        if "user=" in address or "new" in address:
            self.await_list()
        else:
            expect(self.page.locator("#listed-users li").first).to_be_visible()

    def await_list(self) -> None:
        """Wait until a list is there and waits for nothing."""
        expect(self.page.locator("#answered")).not_to_be_empty()
        expect(self.page.locator("#picks:not(.waiting) > .pick").first).to_be_visible()

    def await_change(self) -> None:
        """Wait until it is announced what a rating changed."""
        expect(self.page.locator("#status")).to_have_text(re.compile(r"in the list"))

    def await_that(self, holds: Callable[[], bool]) -> None:
        """Let the browser go on until a condition holds that only its events can bring about."""
        await_condition(lambda: self.page.evaluate("true") and holds(), "the browser has done it")

    @property
    def picks(self) -> list[str]:
        """The ids of the items in the list."""
        ids = self.page.locator("#picks > .pick").evaluate_all("rows => rows.map(row => row.id)")
        return [str(name).removeprefix("pick-") for name in ids]

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """Of each item in the list: what its row says of title, predicted stars and interval."""
        rows = self.page.locator("#picks > .pick").evaluate_all(
            "rows => rows.map(row => ['.title', '.stars-predicted', '.range']"
            ".map(part => row.querySelector(part).textContent))"
        )
        return [tuple(row) for row in rows]

    def star(self, place: str, item_id: str, rating: float) -> Any:
        """One star of an item's rating control; place: pick, rated or found."""
        return self.page.locator(f'[id="star-{place}-{item_id}-{rating:g}"]')

    def picture(self, name: str) -> None:
        """Keep a screenshot of the whole page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def _read_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not self._wanted(message.text):
            self.troubles.append(f"{message.type}: {message.text}")

    def _wanted(self, text: str) -> bool:
        status = re.search(r"Failed to load resource.* status of (\d+)", text)
        return status is not None and int(status[1]) in self.refusals

    def _read_request(self, request: Request) -> None:
        self.requests.append(request.url)
        if not request.url.startswith((f"{self.origin}/", "data:", f"blob:{self.origin}/")):
            self.troubles.append(f"asked {request.url}")


OpenTab = Callable[..., Tab]


def told_of(item: dict[str, Any]) -> tuple[str, str, str]:
    """What a row should say of an item of the API's answer."""
    title = f"{item['title']} {item['year']}" if item["year"] else item["title"]
    low, high = item["interval"]["low"], item["interval"]["high"]
    share = round(item["interval"]["coverage"] * 100)
    return (
        title,
        f"Predicted {tenth(item['predicted_rating'])} ★ stars",
        f"{share}% interval: {tenth(low)} to {tenth(high)}",
    )


def tenth(number: float) -> str:
    """A number with one digit, halves up as JavaScript rounds them."""
    return str(Decimal(number).quantize(Decimal("0.1"), ROUND_HALF_UP))


def chromium() -> Path:
    """The system's Chromium. Without one the test is skipped, or fails where CI needs it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    reason = "There is no Chromium here: install Debian's with apt-get install chromium."
    if os.environ.get("CI_REQUIRES_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window, for one module: its loop must not outlive the tests it serves."""
    with sync_playwright() as playwright:
        # Root has no sandbox to run in, and CI is root; the page is our own.
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[OpenTab]:
    """Opens tabs: `tab(service, **options)`, the options those of a browser context."""
    opened: list[Tab] = []

    def open_tab(service: Service, **options: Any) -> Tab:
        context = browser.new_context(**(DESKTOP | options))
        context.set_default_timeout(PATIENCE_MS)
        made = Tab(context.new_page(), service.url)
        made.watch()
        opened.append(made)
        return made

    yield open_tab
    for one in opened:
        one.page.context.close()
    assert [trouble for one in opened for trouble in one.troubles] == []


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Iterator[Service]:
    """A service with both Redis, for a module whose tests each rate as users of their own."""
    cache = RedisServer(tmp_path_factory.mktemp("cache"))
    ratings = RedisServer(tmp_path_factory.mktemp("ratings"))
    for server in (cache, ratings):
        server.start()
    environment = PATIENT_CACHE | {
        "USHER_MODEL": str(bundle.path),
        "USHER_CACHE_URL": cache.url,
        "USHER_RATINGS_URL": ratings.url,
    }
    try:
        with running_service(tmp_path_factory.mktemp("service"), **environment) as running:
            yield running
    finally:
        for server in (cache, ratings):
            server.stop()
