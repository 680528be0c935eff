"""What the page shows, in a browser: users, the top 10, filters, explanations, addresses."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from models.bundle import Bundle
from service.bundles import activate
from tests.browser import OpenTab, told_of
from tests.service_fixtures import Service, await_condition, running_service
from tests.tiny import altered


def test_a_user_is_searched_and_picked_and_the_list_is_the_apis(
    tab: OpenTab, service: Service
) -> None:
    one = tab(service)
    one.open()
    expect(one.page.locator("#listed-users li")).to_have_count(24)
    one.page.locator("#user-query").fill("7")
    found = one.page.locator("#found-users a .id")
    listed = service.client.get("/v1/users", params={"query": "7", "limit": 8}).json()
    expect(found).to_have_text([f"User {user['user_id']}" for user in listed["users"]])
    one.page.locator("#found-users a", has_text="27").click()
    one.await_list()
    assert parse_qs(urlsplit(one.page.url).query) == {"user": ["27"]}
    expect(one.page.locator("h1:visible")).to_have_text("Top 10 for user 27")
    answer = service.client.get("/v1/users/27/recommendations").json()
    assert one.told == [told_of(item) for item in answer["items"]]
    expect(one.page.locator("#answered")).to_have_text(re.compile(r"Answered in [\d.]+ ms · cache"))


def test_the_history_has_titles_and_own_stars(tab: OpenTab, service: Service) -> None:
    one = tab(service)
    one.open("?user=9")
    ratings = service.client.get("/v1/users/9/ratings").json()["ratings"]
    expect(one.page.locator("#history-told")).to_contain_text(f"{len(ratings)} ratings")
    by_item = {rating["item_id"]: rating for rating in ratings}
    rows = one.page.locator("#rated > li").all()
    assert len(rows) == min(20, len(ratings))
    for row in rows:
        rating = by_item[(row.get_attribute("id") or "").removeprefix("rated-")]
        year = f" {rating['year']}" if rating["year"] else ""
        expect(row.locator("h3")).to_have_text(rating["title"] + year)
        chosen = row.get_by_role("radio", checked=True)
        stars = f"{rating['rating']:g} star" + ("" if rating["rating"] == 1 else "s")
        expect(chosen).to_have_accessible_name(stars)


def test_genres_and_years_narrow_the_list_and_are_in_the_address(
    tab: OpenTab, service: Service
) -> None:
    one = tab(service)
    one.open("?user=5")
    one.page.locator("#filters summary").click()
    for genre in ("Comedy", "Drama"):
        one.page.locator("#genres label", has_text=genre).click()
    one.page.get_by_label("From year").fill("1980")
    one.page.get_by_label("To year").fill("2005")
    one.page.keyboard.press("Enter")
    expect(one.page.locator("#filters-told")).to_have_text("Comedy, Drama, 1980 to 2005")
    query = {"genre": ["Comedy", "Drama"], "year_min": "1980", "year_max": "2005"}
    answer = service.client.get("/v1/users/5/recommendations", params=query).json()
    expect(one.page.locator("#picks > .pick")).to_have_count(len(answer["items"]))
    expect(one.page.locator("#picks .title").first).to_contain_text(answer["items"][0]["title"])
    one.await_list()
    assert one.told == [told_of(item) for item in answer["items"]]
    told = parse_qs(urlsplit(one.page.url).query)
    assert told == {"user": ["5"]} | {name: [v] if isinstance(v, str) else v
                                      for name, v in query.items()}  # fmt: skip
    one.open(one.page.url.removeprefix(f"{service.url}/"))
    assert one.told == [told_of(item) for item in answer["items"]]
    one.page.locator("#filters-clear").click()
    plain = service.client.get("/v1/users/5/recommendations").json()["items"]
    expect(one.page.locator("#picks .title").first).to_contain_text(plain[0]["title"])
    expect(one.page).to_have_url(f"{service.url}/?user=5")


def test_few_titles_are_told_why(tab: OpenTab, service: Service) -> None:
    one = tab(service)
    query = "genre=Western&year_min=1990&year_max=1999"
    one.open(f"?user=5&{query}")
    answer = service.client.get(f"/v1/users/5/recommendations?{query}").json()
    assert len(answer["items"]) < 10
    expect(one.page.locator("#shortfall")).to_have_text(answer["shortfall"]["detail"])


def test_why_this_tells_the_ratings_that_moved_it(tab: OpenTab, service: Service) -> None:
    one = tab(service)
    one.open("?user=7")
    item_id = one.picks[2]
    row = one.page.locator(f"#pick-{item_id}")
    ask = row.get_by_role("button", name="Why this?")
    expect(ask).to_have_attribute("aria-expanded", "false")
    ask.click()
    expect(ask).to_have_attribute("aria-expanded", "true")
    path = f"/v1/users/7/recommendations/{item_id}/explanation"
    moved = service.client.get(path).json()["ratings"]
    expect(row.locator(".moves li")).to_have_count(6)
    row.get_by_role("button", name="Show all").click()
    expect(row.locator(".moves li")).to_have_count(len(moved))
    for shown, rating in zip(row.locator(".moves li").all(), moved, strict=True):
        assert shown.locator(".moved-by").inner_text().startswith(rating["title"])
        change = shown.locator(".change").inner_text().replace("−", "-").replace("±", "+")
        found = [float(number) for number in re.findall(r"[+-][\d.]+", change)]
        told = [rating["preference_score_change"], rating["predicted_rating_change"]]
        assert all(abs(a - b) <= 0.0061 for a, b in zip(found, told, strict=True))
    ask.click()
    expect(row.locator(".why")).to_be_hidden()


def test_the_back_button_goes_through_the_views(tab: OpenTab, service: Service) -> None:
    one = tab(service)
    one.open()
    one.page.locator("#listed-users a", has_text=re.compile(r"^User 3 ")).first.click()
    one.await_list()
    first = one.told
    one.page.locator("#user-query").fill("12")
    one.page.keyboard.press("Enter")
    expect(one.page.locator("#who")).to_have_text("Top 10 for user 12")
    one.await_list()
    one.page.locator("#filters summary").click()
    one.page.locator("#genres label", has_text="Comedy").click()
    expect(one.page.locator("#filters-told")).to_have_text("Comedy")
    one.page.go_back()
    expect(one.page.locator("#filters-told")).to_have_text("by genre and year")
    expect(one.page.locator("#who")).to_have_text("Top 10 for user 12")
    one.page.go_back()
    expect(one.page.locator("#who")).to_have_text("Top 10 for user 3")
    expect(one.page.locator("#picks .title").first).to_have_text(first[0][0])
    one.await_list()
    assert one.told == first
    one.page.go_back()
    expect(one.page.locator("#welcome h1")).to_be_visible()
    one.page.go_forward()
    expect(one.page.locator("#who")).to_have_text("Top 10 for user 3")


def test_a_user_nobody_knows_gets_the_general_list(tab: OpenTab, service: Service) -> None:
    one = tab(service)
    one.open()
    one.page.locator("#user-query").fill("nobody")
    expect(one.page.locator("#found-users")).to_contain_text("not listed: open all the same")
    one.page.keyboard.press("ArrowDown")
    one.page.keyboard.press("Enter")
    one.await_list()
    expect(one.page.locator("#basis")).to_contain_text("Nothing is known of them yet")
    answer = service.client.get("/v1/users/nobody/recommendations").json()
    assert one.told == [told_of(item) for item in answer["items"]]


def test_the_model_is_told_with_its_baselines_and_provider(
    tab: OpenTab, service: Service, bundle: Bundle
) -> None:
    one = tab(service)
    one.open()
    told = one.page.locator("#model")
    for said in (bundle.manifest.version, bundle.digest[:12], "cpu", "80% of ratings"):
        expect(told).to_contain_text(said)
    rows = [row.inner_text().split("\t") for row in told.locator("tbody tr").all()]
    assert rows == [["This model", "1.000"], ["Mean rating", "1.100"]]
    expect(told.locator(".best")).to_have_text("1.000")
    link = one.page.get_by_role("link", name="API description")
    assert service.client.get(f"/{link.get_attribute('href')}").json()["openapi"]


def test_a_model_that_takes_over_is_told(tab: OpenTab, bundle: Bundle, tmp_path: Path) -> None:
    pointer = tmp_path / "active"
    activate(str(bundle.path), pointer)
    scale = bundle.manifest.rating_scale
    genres = [f"{name} again" for name in bundle.catalog.genre_names]
    catalog = replace(bundle.catalog, genre_names=genres)
    later = altered(bundle, tmp_path / "later", catalog, scale)
    with running_service(tmp_path, USHER_MODEL_POINTER=str(pointer)) as running:
        one = tab(running)
        one.open("?new")
        expect(one.page.locator("#model")).to_contain_text(bundle.digest[:12])
        activate(str(later.path), pointer)
        await_condition(
            lambda: running.client.get("/v1/model").json()["digest"] == later.digest, "it answers"
        )
        one.star("pick", one.picks[0], 4).click()
        expect(one.page.locator("#model")).to_contain_text(later.digest[:12])
        one.page.locator("#filters summary").click()
        expect(one.page.locator("#genres label").first).to_have_text(genres[0])
