"""Rating on the page, in a browser: by click and by keyboard, stored and as a new user.

What the page shows afterwards is held against the API, which keeps or is sent the same ratings.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
from playwright.sync_api import Route, expect

from tests.browser import PHONE, OpenTab, Tab, told_of
from tests.service_fixtures import Service


def list_of(client: httpx.Client, user: str) -> list[tuple[str, str, str]]:
    items = client.get(f"/v1/users/{user}/recommendations").json()["items"]
    return [told_of(item) for item in items]


def rating_of(client: httpx.Client, user: str, item_id: str) -> float | None:
    answer = client.get(f"/v1/users/{user}/ratings/{item_id}")
    return float(answer.json()["rating"]) if answer.status_code == 200 else None


def kept_in(one: Tab) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = json.loads(
        one.page.evaluate("sessionStorage.getItem('usher.ratings')")
    )
    return kept


def test_a_click_rates_and_the_list_changes_at_once(tab: OpenTab, stocked: Service) -> None:
    one = tab(stocked)
    one.open("?user=11")
    before, item_id = one.told, one.picks[3]
    one.star("pick", item_id, 4.5).click()
    expect(one.page.locator(f"#pick-{item_id}")).to_have_count(0)
    expect(one.star("rated", item_id, 4.5)).to_be_checked()
    one.await_change()
    assert one.page.locator("#rated > li").first.get_attribute("id") == f"rated-{item_id}"
    assert rating_of(stocked.client, "11", item_id) == 4.5
    assert one.told == list_of(stocked.client, "11") != before
    expect(one.page.locator(".moved.new").first).to_be_visible()


def test_a_rating_is_kept_before_the_list_is_asked_for(tab: OpenTab, stocked: Service) -> None:
    """Until the service has it, the page shows it all the same; so the request is held up."""
    one = tab(stocked)
    one.open("?user=12")
    item_id = one.picks[0]
    held: list[Route] = []
    one.page.route("**/ratings/*", lambda route: held.append(route))
    one.star("pick", item_id, 2).click()
    expect(one.page.locator(f"#pick-{item_id}")).to_have_count(0)
    expect(one.star("rated", item_id, 2)).to_be_checked()
    expect(one.page.locator("#status")).to_contain_text("2 stars")
    assert rating_of(stocked.client, "12", item_id) is None
    held[0].continue_()
    one.await_change()
    assert rating_of(stocked.client, "12", item_id) == 2
    assert one.told == list_of(stocked.client, "12")


def test_the_keyboard_alone_rates(tab: OpenTab, stocked: Service) -> None:
    one = tab(stocked)
    one.open("?user=13")
    first, second = one.picks[:2]
    for _ in range(40):
        one.page.keyboard.press("Tab")
        if one.page.evaluate("document.activeElement.matches('#picks .star')"):
            break
    expect(one.star("pick", first, 0.5)).to_be_focused()
    for _ in range(7):
        one.page.keyboard.press("ArrowRight")
    expect(one.star("pick", first, 4)).to_be_focused()
    assert rating_of(stocked.client, "13", first) is None, "moving is not rating"
    one.page.keyboard.press("Enter")
    one.await_change()
    assert rating_of(stocked.client, "13", first) == 4
    assert one.told == list_of(stocked.client, "13")
    on_star = "document.activeElement.matches('#picks > :first-child .star, #pick-%s .star')"
    assert one.page.evaluate(on_star % second), "the focus stays in the list"
    one.page.keyboard.press("Tab")
    one.page.keyboard.press("Enter")
    expect(one.page.locator("#picks .moves")).to_be_visible()


def test_a_rating_is_changed_and_deleted_in_the_history(tab: OpenTab, stocked: Service) -> None:
    one = tab(stocked)
    one.open("?user=14")
    row = one.page.locator("#rated > li").nth(2)
    item_id = (row.get_attribute("id") or "").removeprefix("rated-")
    one.star("rated", item_id, 0.5).click()
    one.await_change()
    expect(one.star("rated", item_id, 0.5)).to_be_checked()
    assert rating_of(stocked.client, "14", item_id) == 0.5
    assert one.told == list_of(stocked.client, "14")
    one.page.locator(f"#delete-{item_id}").click()
    expect(one.page.locator("#status")).to_contain_text("Deleted the rating")
    one.await_change()
    expect(one.page.locator(f"#rated-{item_id}")).to_have_count(0)
    assert rating_of(stocked.client, "14", item_id) is None
    assert one.told == list_of(stocked.client, "14")


def test_any_title_is_found_and_rated(tab: OpenTab, stocked: Service) -> None:
    one = tab(stocked, **PHONE)
    one.open("?user=15")
    rated = {r["item_id"] for r in stocked.client.get("/v1/users/15/ratings").json()["ratings"]}
    every = stocked.client.get("/v1/items", params={"limit": 100}).json()["items"]
    item = next(i for i in every if i["item_id"] not in rated | set(one.picks))
    one.page.get_by_label("Title", exact=True).fill(item["title"])
    star = one.star("found", item["item_id"], 5)
    star.tap()
    one.await_change()
    expect(star).to_be_checked()
    assert rating_of(stocked.client, "15", item["item_id"]) == 5
    assert one.told == list_of(stocked.client, "15")


def test_of_quick_ratings_all_are_kept_and_the_last_asks_for_the_list(
    tab: OpenTab, stocked: Service
) -> None:
    """Asked for earlier, the list would show again what was just rated."""
    one = tab(stocked)
    one.open("?user=16")
    items = one.picks[:3]
    held: list[Route] = []
    one.page.route("**/ratings/*", lambda route: held.append(route))
    path = f"{stocked.url}/v1/users/16/recommendations?k=10"
    assert one.requests.count(path) == 1
    for item_id in items:
        one.star("pick", item_id, 5).click()
    for _ in items:
        one.await_that(lambda: len(held) > 0)
        assert not set(items) & set(one.picks)
        held.pop().continue_()
    one.await_change()
    assert one.requests.count(path) == 2
    assert [rating_of(stocked.client, "16", item_id) for item_id in items] == [5] * 3
    assert one.told == list_of(stocked.client, "16")


def test_a_new_user_begins_with_nothing_and_the_list_becomes_theirs(
    tab: OpenTab, stocked: Service
) -> None:
    one = tab(stocked)
    one.open()
    one.page.get_by_role("link", name="Start as a new user").click()
    one.await_list()
    expect(one.page.locator("#basis")).to_contain_text("You have rated nothing yet")
    expect(one.page.locator("#history-told")).to_contain_text("None yet.")
    given: list[dict[str, Any]] = []

    def answered() -> list[tuple[str, str, str]]:
        answer = stocked.client.post("/v1/recommendations", json={"ratings": given}).json()
        return [told_of(item) for item in answer["items"]]

    assert one.told == answered()
    for place, rating in ((0, 5), (4, 1.5), (2, 4)):
        before, item_id = one.told, one.picks[place]
        one.page.evaluate("document.getElementById('status').textContent = ''")
        one.star("pick", item_id, rating).click()
        one.await_change()
        given.append({"item_id": item_id, "rating": rating})
        assert one.told == answered() != before
    assert [{k: r[k] for k in ("item_id", "rating")} for r in kept_in(one)] == given
    expect(one.page.locator("#basis")).to_be_hidden()
    one.page.reload()
    one.await_list()
    assert one.told == answered(), "ratings stay in the tab"
    why = one.page.get_by_role("button", name="Why this?").first
    why.click()
    expect(one.page.locator("#picks .moves li")).to_have_count(3)
    expect(one.page.locator("#picks .why").first).to_contain_text("Each of your ratings")
    one.page.get_by_role("button", name="Start over").click()
    expect(one.page.locator("#history-told")).to_contain_text("None yet.")
    given.clear()
    one.await_list()
    assert one.told == answered()


def test_a_new_user_s_filters_go_along(tab: OpenTab, stocked: Service) -> None:
    one = tab(stocked)
    one.open("?new&genre=Comedy&year_min=1990&year_max=2010")
    body = {"ratings": [], "genre": ["Comedy"], "year_min": 1990, "year_max": 2010}
    answer = stocked.client.post("/v1/recommendations", json=body).json()
    assert one.told == [told_of(item) for item in answer["items"]]
