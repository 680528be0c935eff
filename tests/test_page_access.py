"""The page by axe-core, light and dark, large and small; it fits a phone; pictures of all of it.

Pictures are kept in `.usher/screenshots`.
"""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.benchmarks.page import load
from tests.browser import DESKTOP, PHONE, OpenTab, Tab
from tests.service_fixtures import Service

SCREENS: dict[str, dict[str, Any]] = {"desktop": DESKTOP, "phone": PHONE}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def violations(one: Tab) -> list[str]:
    """What axe finds, whatever its impact, and where."""
    # What fades in is looked at as it will be, whatever the machine's pace.
    one.page.evaluate("document.getAnimations().forEach(animation => animation.finish())")
    found: list[dict[str, Any]] = Axe().run(one.page, options=RULES).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


def assert_fits(one: Tab) -> None:
    """Nothing is wider than the screen."""
    wide = one.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", sorted(SCREENS))
def test_axe_finds_nothing_and_everything_fits(
    tab: OpenTab, stocked: Service, screen: str, scheme: str
) -> None:
    one = tab(stocked, **SCREENS[screen], color_scheme=scheme)
    one.open()
    views = {"welcome": violations(one)}
    assert_fits(one)
    one.picture(f"{screen}-{scheme}-welcome")
    one.page.locator("#user-query").fill("2")
    expect(one.page.locator("#found-users li").first).to_be_visible()
    views["users found"] = violations(one)
    one.open("?user=7&genre=Comedy&genre=Drama&year_min=1960")
    one.page.get_by_role("button", name="Why this?").nth(1).click()
    expect(one.page.locator("#picks .moves li").first).to_be_visible()
    one.page.get_by_label("Title", exact=True).fill("the")
    expect(one.page.locator("#found-titles li").first).to_be_visible()
    views["user"] = violations(one)
    assert_fits(one)
    one.picture(f"{screen}-{scheme}-user")
    one.open("?new")
    one.star("pick", one.picks[0], 4).click()
    one.await_change()
    views["new user"] = violations(one)
    one.picture(f"{screen}-{scheme}-new")
    assert views == {view: [] for view in views}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_refusals_and_the_dialog(
    tab: OpenTab, service: Service, scheme: str
) -> None:
    """The shared service keeps no ratings, so one that is given is refused."""
    one = tab(service, color_scheme=scheme)
    one.open("?user=7")
    one.refusals = {501}
    one.star("pick", one.picks[0], 4).click()
    expect(one.page.get_by_role("alert")).to_contain_text("USHER_RATINGS_URL")
    refused = violations(one)
    one.picture(f"desktop-{scheme}-refused")
    one.page.evaluate("document.getElementById('key').showModal()")
    one.picture(f"desktop-{scheme}-key")
    assert (refused, violations(one)) == ([], [])


def test_the_smallest_phone_and_the_largest_text(tab: OpenTab, service: Service) -> None:
    one = tab(service, viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    one.open("?user=7")
    assert_fits(one)
    stars = one.page.locator("#picks .star").first.bounding_box()
    assert stars is not None
    assert stars["width"] >= 24
    assert stars["height"] >= 24
    one.page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert_fits(one)


def test_nothing_moves_where_nothing_should(tab: OpenTab, service: Service) -> None:
    one = tab(service, reduced_motion="reduce")
    one.open("?new")
    one.star("pick", one.picks[0], 4).click()
    one.await_change()
    expect(one.page.locator(".pick.fresh").first).to_be_visible()
    assert one.page.evaluate("document.getAnimations().length") == 0


def test_the_benchmark_measures_a_paint_and_a_list(browser: Browser, service: Service) -> None:
    found = load(browser, f"{service.url}/?user=7")
    assert found.painted > 0
    assert found.listed > 0


def test_landmarks_and_headings_lead_through_the_page(tab: OpenTab, service: Service) -> None:
    one = tab(service)
    one.open("?user=7")
    for landmark in ("banner", "main", "contentinfo"):
        expect(one.page.get_by_role(landmark)).to_have_count(1)
    headings = [h.inner_text() for h in one.page.get_by_role("heading", level=1).all()]
    assert headings == ["Top 10 for user 7"]
    second = one.page.get_by_role("heading", level=2).all_inner_texts()
    for told in ("Rate any title", "Ratings of user 7", "The model that answers"):
        assert told in second
    one.page.keyboard.press("Tab")
    expect(one.page.locator(".skip")).to_be_focused()
    one.page.keyboard.press("Enter")
    expect(one.page.locator("#main")).to_be_focused()
