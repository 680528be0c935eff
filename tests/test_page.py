"""The page's files over HTTP: what browsers are told and may keep, and that nothing is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.bundle import Bundle
from service.web.page import FOLDER, PAGE_PATHS, address_of
from tests.browser import chromium
from tests.service_fixtures import Service, running_service

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
LARGEST_PAGE = 100_000  # bytes of all files together: a page that opens at once on a phone


@pytest.mark.parametrize("path", sorted(PAGE_PATHS))
def test_a_file_is_served_with_all_that_a_browser_should_know(service: Service, path: str) -> None:
    answer = service.client.get(path)
    assert answer.status_code == 200
    name = "index.html" if path == "/" else path.removeprefix("/page/")
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["content-type"] == TYPES[name.rpartition(".")[2]]
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'self'"
    assert not [part for part in policy if "unsafe" in part or "script" in part or "style" in part]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    again = service.client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"]
    plain = service.client.get(path, headers={"Accept-Encoding": "identity"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert plain.content == answer.content
    assert plain.headers["etag"] != answer.headers["etag"]
    assert plain.headers["vary"] == answer.headers["vary"] == "Accept-Encoding"
    other = service.client.get(path, headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


def test_files_have_tags_of_their_own(service: Service) -> None:
    tags = {service.client.get(path).headers["etag"] for path in PAGE_PATHS}
    assert len(tags) == len(PAGE_PATHS)


def test_the_page_is_only_read(service: Service) -> None:
    for path in ("/", "/page/app.js"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = service.client.request(method, path)
            assert answer.status_code == 405
            assert answer.headers["allow"] == "GET, HEAD"
            assert answer.headers["content-type"] == "application/problem+json"
    for path in ("/page/", "/page/page.py", "/page/__init__.py", "/page/../page.py", "/web/app.js"):
        assert service.client.get(path).status_code == 404


def test_nothing_but_data_needs_a_key(bundle: Bundle, tmp_path: Path) -> None:
    environment = {"USHER_MODEL": str(bundle.path), "USHER_API_KEYS": "page-key-0123456789"}
    with running_service(tmp_path, **environment) as guarded:
        for path in PAGE_PATHS:
            assert guarded.client.get(path).status_code == 200
            assert guarded.client.head(path).status_code == 200
        for path in ("/v1/model", "/v1/users", "/page/none.js", "/page", "/?x=1"):
            expected = 200 if path.startswith("/?") else 401
            assert guarded.client.get(path).status_code == expected, path


def test_requests_for_the_page_are_counted_by_file(service: Service) -> None:
    service.client.get("/page/style.css")
    text = service.client.get("/metrics").text
    assert re.search(r'route="/page/style\.css".* [1-9]', text)


def test_what_the_page_refers_to_is_there_and_modules_are_asked_for_at_once() -> None:
    files = {file.name: file.read_text() for file in FOLDER.iterdir() if file.suffix != ".py"
             and file.is_file()}  # fmt: skip
    page = files["index.html"]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page)
    referred = set(re.findall(r'(?:href|src)="(page/[^"]+)"', page))
    for name in ("style.css", "controls.css"):
        referred |= {f"page/{found}" for found in re.findall(r'url\("([^"]+)"\)', files[name])}
    imported = {
        f"page/{found}"
        for name, text in files.items()
        if name.endswith(".js")
        for found in re.findall(r'from "\./([^"]+)"', text)
    }
    assert {f"/{name}" for name in referred | imported} | {"/"} == PAGE_PATHS
    preloaded = set(re.findall(r'modulepreload" href="([^"]+)"', page))
    assert preloaded == imported
    assert not any(re.search(r"https?://(?!www\.w3\.org/)", text) for text in files.values())
    assert sum(len(text.encode()) for text in files.values()) < LARGEST_PAGE


def test_without_a_browser_the_tests_are_skipped_here_and_fail_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI_REQUIRES_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        chromium()
    monkeypatch.delenv("CI_REQUIRES_BROWSER")
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        chromium()


def test_every_file_of_the_folder_is_served() -> None:
    files = [f for f in FOLDER.iterdir() if f.is_file() and f.suffix != ".py"]
    assert {address_of(file) for file in files} == PAGE_PATHS
