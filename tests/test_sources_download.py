"""Downloading: a real server on loopback, whole archives, broken ones, and none at all."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from training.errors import DataError, DataUnavailable
from training.sources import SourceSettings, available, load_ratings
from training.sources.location import release_folder
from training.sources.releases import RELEASES

RATINGS = b"userId,movieId,rating,timestamp\n1,1,4.0,964982703\n2,3,5.0,964982704\n"
FILES = {
    "ml-latest-small/ratings.csv": RATINGS,
    "ml-latest-small/movies.csv": b"movieId,title,genres\n1,Heat (1995),Action\n3,Jaws (1975),\n",
    "ml-latest-small/README.txt": b"terms\n",
    "ml-latest-small/genome.csv": b"not read\n" * 1000,
}


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder silently; `short.zip` announces more bytes than it sends."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        requested: list[str] = self.server.requested  # type: ignore[attr-defined]
        requested.append(self.path)
        if "/broken/" in self.path and self.path.endswith(".zip"):
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"PK" * 100)
        else:
            super().do_GET()


@dataclass
class Mirror:
    """A local server of archives: what it serves and what was asked of it."""

    folder: Path
    url: str
    requested: list[str]

    def put(self, archive: bytes, name: str = "ml-latest-small", md5: str | None = None) -> None:
        (self.folder / f"{name}.zip").write_bytes(archive)
        digest = md5 or hashlib.md5(archive).hexdigest()
        (self.folder / f"{name}.zip.md5").write_text(f"MD5 ({name}.zip) = {digest}\n")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.requested = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Mirror(folder, f"http://127.0.0.1:{server.server_port}", server.requested)  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def archive(folder: Path, files: dict[str, bytes] = FILES) -> bytes:
    path = folder / "built.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return path.read_bytes()


def settings(mirror: Mirror, tmp_path: Path) -> SourceSettings:
    return SourceSettings(cache_dir=tmp_path / "cache", base_url=mirror.url)


def leftovers(tmp_path: Path) -> list[str]:
    """What the cache holds, hidden files included."""
    cache = tmp_path / "cache"
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


def test_a_release_is_downloaded_once_and_unpacked_into_the_cache(
    mirror: Mirror, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mirror.put(archive(tmp_path))
    ratings = load_ratings("ml-latest-small", settings(mirror, tmp_path))
    assert ratings.values.tolist() == [4.0, 5.0]
    assert list(ratings.catalog.titles) == ["Heat", "Jaws"]
    assert leftovers(tmp_path) == ["ml-latest-small"]
    unpacked = {path.name for path in (tmp_path / "cache" / "ml-latest-small").iterdir()}
    assert unpacked == {"ratings.csv", "movies.csv", "README.txt"}
    assert "Downloading ml-latest-small.zip" in capfd.readouterr().err
    asked = len(mirror.requested)
    assert available("ml-latest-small", settings(mirror, tmp_path))
    load_ratings("ml-latest-small", settings(mirror, tmp_path))
    assert len(mirror.requested) == asked == 2


def test_a_pinned_md5_needs_no_file_beside_the_archive(mirror: Mirror, tmp_path: Path) -> None:
    content = archive(tmp_path)
    mirror.put(content)
    (mirror.folder / "ml-latest-small.zip.md5").unlink()
    pinned = replace(RELEASES["ml-latest-small"], md5=hashlib.md5(content).hexdigest())
    folder = release_folder(pinned, settings(mirror, tmp_path))
    assert (folder / "ratings.csv").read_bytes() == RATINGS


@pytest.mark.parametrize("name", ["ml-latest-small", "ml-1m"])
def test_bytes_that_do_not_match_the_md5_are_discarded(
    name: str, mirror: Mirror, tmp_path: Path
) -> None:
    mirror.put(archive(tmp_path), name, md5="0" * 32)
    with pytest.raises(DataError, match=r"has the md5 \w+ and not the published \w+, so it was"):
        load_ratings(name, settings(mirror, tmp_path))
    assert leftovers(tmp_path) == []


def test_an_archive_cut_short_on_the_server_is_told(mirror: Mirror, tmp_path: Path) -> None:
    mirror.put(archive(tmp_path)[:-40])
    with pytest.raises(DataError, match=r"is truncated or damaged .* delete it and fetch it again"):
        load_ratings("ml-latest-small", settings(mirror, tmp_path))
    assert leftovers(tmp_path) == []


def test_a_connection_that_breaks_off_leaves_nothing_behind(mirror: Mirror, tmp_path: Path) -> None:
    broken = SourceSettings(cache_dir=tmp_path / "cache", base_url=f"{mirror.url}/broken")
    with pytest.raises(DataUnavailable, match="the connection broke off after 200 of 1000000"):
        load_ratings("ml-1m", broken)
    assert leftovers(tmp_path) == []


def test_no_network_is_one_clear_line(mirror: Mirror, tmp_path: Path) -> None:
    away = SourceSettings(
        data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", base_url="http://127.0.0.1:1"
    )
    for offline, reason in (
        (away, "no connection, .*refused"),
        (replace(away, download=False), "downloading is switched off"),
        (replace(away, base_url=mirror.url), "the server answered 404"),
        (replace(away, base_url="nonsense"), "unknown url type"),
    ):
        with pytest.raises(DataUnavailable, match=reason) as caught:
            load_ratings("ml-latest-small", offline)
        told = str(caught.value)
        assert "\n" not in told
        assert f"is not in {tmp_path}/data or {tmp_path}/cache" in told
        assert "USHER_DATA_DIR" in told and "synthetic" in told


def test_an_answer_without_an_md5_is_no_md5(mirror: Mirror, tmp_path: Path) -> None:
    mirror.put(archive(tmp_path))
    (mirror.folder / "ml-latest-small.zip.md5").write_text("<html>Please log in</html>")
    with pytest.raises(DataUnavailable, match=r"zip.md5 holds no md5"):
        load_ratings("ml-latest-small", settings(mirror, tmp_path))


def offline(tmp_path: Path) -> SourceSettings:
    (tmp_path / "data").mkdir()
    return SourceSettings(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", download=False)


def test_an_archive_in_the_data_folder_is_unpacked_into_the_cache(tmp_path: Path) -> None:
    given = offline(tmp_path)
    (tmp_path / "data" / "ml-latest-small.zip").write_bytes(archive(tmp_path))
    assert available("ml-latest-small", given)
    assert len(load_ratings("ml-latest-small", given)) == 2
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["ml-latest-small.zip"]
    assert leftovers(tmp_path) == ["ml-latest-small"]


@pytest.mark.parametrize("cut", [1, 100, 300])
def test_a_truncated_archive_is_told_and_nothing_is_unpacked(cut: int, tmp_path: Path) -> None:
    given = offline(tmp_path)
    path = tmp_path / "data" / "ml-latest-small.zip"
    path.write_bytes(archive(tmp_path)[:-cut])
    with pytest.raises(DataError, match="is truncated or damaged") as caught:
        load_ratings("ml-latest-small", given)
    assert str(path) in str(caught.value)
    assert leftovers(tmp_path) == []


def test_a_damaged_member_is_told_and_nothing_is_unpacked(tmp_path: Path) -> None:
    given = offline(tmp_path)
    content = bytearray(archive(tmp_path))
    content[60] ^= 0xFF
    (tmp_path / "data" / "ml-latest-small.zip").write_bytes(bytes(content))
    with pytest.raises(DataError, match="is truncated or damaged"):
        load_ratings("ml-latest-small", given)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "files",
    [
        {"ml-latest-small/ratings.csv": RATINGS},
        {"../ratings.csv": RATINGS, "/etc/movies.csv": b"x"},
        {"ml-latest-small/deeper/ratings.csv": RATINGS},
    ],
)
def test_an_archive_of_something_else_is_told(files: dict[str, bytes], tmp_path: Path) -> None:
    given = offline(tmp_path)
    (tmp_path / "data" / "ml-latest-small.zip").write_bytes(archive(tmp_path, files))
    with pytest.raises(
        DataError, match=r"holds no ml-latest-small/.* so it is not ml-latest-small"
    ):
        load_ratings("ml-latest-small", given)
    assert leftovers(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_told(mirror: Mirror, tmp_path: Path) -> None:
    mirror.put(archive(tmp_path))
    (tmp_path / "cache").write_text("a file where a folder belongs")
    with pytest.raises(DataError, match=r"cannot be unpacked into .* choose another cache folder"):
        load_ratings("ml-latest-small", settings(mirror, tmp_path))


def test_an_unfinished_folder_in_the_cache_is_replaced(mirror: Mirror, tmp_path: Path) -> None:
    mirror.put(archive(tmp_path))
    (tmp_path / "cache" / "ml-latest-small").mkdir(parents=True)
    (tmp_path / "cache" / "ml-latest-small" / "movies.csv").write_text("old")
    assert len(load_ratings("ml-latest-small", settings(mirror, tmp_path))) == 2
    assert leftovers(tmp_path) == ["ml-latest-small"]
