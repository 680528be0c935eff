"""The page without a key or a Redis, on odd scales, and with titles that are no titles."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import expect

from models.bundle import Bundle
from models.manifest import RatingScale
from tests.browser import OpenTab, told_of
from tests.service_fixtures import PATIENT_CACHE, RedisServer, Service, running_service
from tests.small_ratings import blank_catalog
from tests.tiny import altered

KEY = "page-key-0123456789"
HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\" onmouseover=\"document.title='owned'",
    "'; document.title='owned'; '",
    "&lt;b&gt; &amp; </h2></li>",
)


def test_a_key_is_asked_for_and_kept_for_the_tab(
    tab: OpenTab, bundle: Bundle, tmp_path: Path
) -> None:
    environment = {"USHER_MODEL": str(bundle.path), "USHER_API_KEYS": KEY}
    with running_service(tmp_path, **environment) as guarded:
        one = tab(guarded)
        one.refusals = {401}
        one.page.goto(f"{guarded.url}/?user=4")
        dialog = one.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        expect(dialog.get_by_label("API key", exact=True)).to_be_focused()
        one.page.keyboard.type("wrong-key-0123456789")
        one.page.keyboard.press("Enter")
        expect(dialog).to_contain_text("The API key is not one of this service's.")
        one.page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        alert = one.page.get_by_role("alert")
        expect(alert).to_contain_text("API key")
        alert.get_by_role("button", name="Try again").click()
        dialog.get_by_label("API key", exact=True).fill(KEY)
        dialog.get_by_role("button", name="Use this key").click()
        one.await_list()
        expect(alert).to_be_empty()
        keyed = {"X-API-Key": KEY}
        answer = guarded.client.get("/v1/users/4/recommendations", headers=keyed).json()
        assert one.told == [told_of(item) for item in answer["items"]]
        one.page.reload()
        one.await_list()
        expect(dialog).to_be_hidden()
        one.page.get_by_role("link", name="API description").click()
        expect(one.page.locator("body")).to_contain_text('"openapi"')


def test_with_both_redis_down_a_new_user_is_served(
    tab: OpenTab, bundle: Bundle, tmp_path: Path
) -> None:
    environment = {
        "USHER_MODEL": str(bundle.path),
        "USHER_CACHE_URL": f"unix://{tmp_path / 'no-cache.sock'}",
        "USHER_RATINGS_URL": f"unix://{tmp_path / 'no-ratings.sock'}",
    }
    with running_service(tmp_path, **environment) as service:
        one = tab(service)
        one.refusals = {503}
        one.page.goto(f"{service.url}/?user=4")
        alert = one.page.get_by_role("alert")
        refused = service.client.get("/v1/users/4/recommendations").json()
        expect(alert.locator("p")).to_have_text(refused["detail"])
        alert.get_by_role("link", name="Go on as a new user").click()
        one.await_list()
        expect(alert).to_be_empty()
        item_id = one.picks[0]
        one.star("pick", item_id, 5).click()
        one.await_change()
        body = {"ratings": [{"item_id": item_id, "rating": 5}]}
        answer = service.client.post("/v1/recommendations", json=body).json()
        assert one.told == [told_of(item) for item in answer["items"]]
        one.page.get_by_role("button", name="Why this?").first.click()
        expect(one.page.locator("#picks .moves li")).to_have_count(1)


def test_without_its_cache_the_page_works(
    tab: OpenTab, bundle: Bundle, redis_server: RedisServer, tmp_path: Path
) -> None:
    environment = {
        "USHER_MODEL": str(bundle.path),
        "USHER_CACHE_URL": f"unix://{tmp_path / 'no-cache.sock'}",
        "USHER_RATINGS_URL": redis_server.url,
    }
    with running_service(tmp_path, **environment) as service:
        one = tab(service)
        one.open("?user=4")
        expect(one.page.locator("#answered")).to_contain_text("cache miss")
        item_id = one.picks[0]
        one.star("pick", item_id, 5).click()
        one.await_change()
        kept = service.client.get(f"/v1/users/4/ratings/{item_id}").json()
        assert kept["rating"] == 5


def test_a_rating_that_cannot_be_kept_is_undone_and_can_be_tried_again(
    tab: OpenTab, bundle: Bundle, redis_server: RedisServer, tmp_path: Path
) -> None:
    environment = PATIENT_CACHE | {
        "USHER_MODEL": str(bundle.path),
        "USHER_RATINGS_URL": redis_server.url,
    }
    with running_service(tmp_path, **environment) as service:
        one = tab(service)
        one.open("?user=6")
        one.refusals = {503}
        before, item_id = one.told, one.picks[1]
        redis_server.stop()
        one.star("pick", item_id, 3).click()
        alert = one.page.get_by_role("alert")
        expect(alert.get_by_role("link", name="Go on as a new user")).to_be_visible()
        assert one.told == before
        expect(one.page.locator(f"#rated-{item_id}")).to_have_count(0)
        redis_server.start()
        alert.get_by_role("button", name="Try again").click()
        one.await_change()
        expect(alert).to_be_empty()
        assert service.client.get(f"/v1/users/6/ratings/{item_id}").json()["rating"] == 3
        assert item_id not in one.picks


def test_what_the_service_refuses_is_said_in_its_own_sentence(
    tab: OpenTab, service: Service
) -> None:
    one = tab(service)
    one.open("?user=6")
    one.refusals = {422}
    one.page.locator("#filters summary").click()
    one.page.get_by_label("From year").fill("2000")
    one.page.keyboard.press("Enter")
    expect(one.page.locator("#filters-told")).to_have_text("2000 to …")
    one.await_list()
    before = one.told
    one.page.get_by_label("To year").fill("1990")
    one.page.keyboard.press("Enter")
    expect(one.page.get_by_role("alert")).to_contain_text("year_min is later than year_max")
    assert one.told == before, "nothing is lost"
    one.page.get_by_role("button", name="Dismiss").click()
    expect(one.page.get_by_role("alert")).to_be_empty()


def test_ratings_that_nobody_keeps_can_be_gone_on_with_as_a_new_user(
    tab: OpenTab, service: Service
) -> None:
    """The shared service has no ratings Redis at all."""
    one = tab(service)
    one.open("?user=6")
    one.refusals = {501}
    one.star("pick", one.picks[0], 3).click()
    alert = one.page.get_by_role("alert")
    expect(alert).to_contain_text("USHER_RATINGS_URL names no Redis")
    alert.get_by_role("link", name="Go on as a new user").click()
    expect(one.page.locator("#who")).to_have_text("Your top 10")


def test_titles_are_text_whatever_they_hold(tab: OpenTab, bundle: Bundle, tmp_path: Path) -> None:
    titles = [f"{HOSTILE[i % len(HOSTILE)]} {i}" for i in range(len(bundle.catalog))]
    genres = [f"<i>{name}</i>" for name in bundle.catalog.genre_names]
    catalog = replace(bundle.catalog, titles=titles, genre_names=genres)
    hostile = altered(bundle, tmp_path / "hostile", catalog, bundle.manifest.rating_scale)
    with running_service(tmp_path, USHER_MODEL=str(hostile.path)) as service:
        one = tab(service)
        one.open("?user=4")
        answer = service.client.get("/v1/users/4/recommendations").json()
        assert one.told == [told_of(item) for item in answer["items"]]
        assert any(told[0].startswith("<script>") for told in one.told)
        one.page.get_by_role("button", name="Why this?").first.click()
        expect(one.page.locator("#picks .moves li").first).to_be_visible()
        one.page.get_by_label("Title", exact=True).fill("script")
        expect(one.page.locator("#found-titles h3").first).to_contain_text("<script>")
        one.page.locator("#filters summary").click()
        expect(one.page.locator("#genres label").first).to_have_text(genres[0])
        assert one.page.title() == "Top 10 for user 4 · Usher"
        assert one.page.locator("main :is(script, img, b, i)").count() == 0


def test_a_scale_of_whole_stars_without_genres_and_years(
    tab: OpenTab, bundle: Bundle, tmp_path: Path
) -> None:
    scale = RatingScale(minimum=1, maximum=5, step=1)
    plain = altered(bundle, tmp_path / "plain", blank_catalog(len(bundle.catalog)), scale)
    with running_service(tmp_path, USHER_MODEL=str(plain.path)) as service:
        one = tab(service)
        one.open("?new")
        stars = one.page.locator("#picks > .pick").first.get_by_role("radio")
        names = [star.get_attribute("aria-label") for star in stars.all()]
        assert names == ["1 star", "2 stars", "3 stars", "4 stars", "5 stars"]
        expect(one.page.locator("#filters")).to_be_hidden()
        item_id = one.picks[0]
        one.star("pick", item_id, 4).click()
        one.await_change()
        body = {"ratings": [{"item_id": item_id, "rating": 4}]}
        answer = service.client.post("/v1/recommendations", json=body).json()
        assert one.told == [told_of(item) for item in answer["items"]]


def test_a_scale_that_stars_do_not_suit_is_chosen_from(
    tab: OpenTab, bundle: Bundle, tmp_path: Path
) -> None:
    scale = RatingScale(minimum=0, maximum=100, step=25)
    wide = altered(bundle, tmp_path / "wide", bundle.catalog, scale)
    with running_service(tmp_path, USHER_MODEL=str(wide.path)) as service:
        one = tab(service)
        one.open("?new")
        choice = one.page.locator("#picks > .pick select").first
        told = choice.locator("option").all_inner_texts()
        assert told == ["Rate", "0", "25", "50", "75", "100"]
        first = service.client.post("/v1/recommendations", json={"ratings": []}).json()["items"][0]
        choice.select_option("75")
        one.await_change()
        expect(one.page.locator("#status")).to_have_text(re.compile(f"Rated {first['title']} 75"))
