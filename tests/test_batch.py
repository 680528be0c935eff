"""`python -m service.batch`: every row is what the live service answers, and parts are kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.bundle import Bundle
from service.batch.folder import held_folder
from tests.batch_runs import COMMAND, as_row, batch, recommended, redis_at
from tests.oracle import TOLERANCE
from tests.service_fixtures import ROOT, Service, await_condition, running_service

NEWCOMER, FORGOTTEN = "new-since-training", "came-and-went"


@pytest.fixture(scope="module")
def rated(
    bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, dict[str, str]]]:
    """A service whose users have rated, taken back and forgotten, and how a batch reaches it."""
    folder = tmp_path_factory.mktemp("rated")
    users = [user.decode() for user in bundle.users.ids]
    items = bundle.catalog.ids
    first = items[bundle.users.histories.of(3)[0][0]]
    with redis_at(folder / "redis") as redis:
        where = {"USHER_MODEL": str(bundle.path), "USHER_RATINGS_URL": redis.url}
        with running_service(folder, **where) as service:
            ask = service.client
            changed = f"/v1/users/{users[0]}/ratings/{items[5]}"
            assert ask.put(changed, json={"rating": 1}).is_success
            assert ask.delete(f"/v1/users/{users[3]}/ratings/{first}").is_success
            assert ask.delete(f"/v1/users/{users[7]}/ratings").is_success
            for user, item in ((NEWCOMER, items[0]), (NEWCOMER, items[9]), (FORGOTTEN, items[1])):
                assert ask.put(f"/v1/users/{user}/ratings/{item}", json={"rating": 5}).is_success
            assert ask.delete(f"/v1/users/{FORGOTTEN}/ratings").is_success
            replaced = {"ratings": [{"item_id": items[2], "rating": 4}]}
            assert ask.put(f"/v1/users/{users[9]}/ratings", json=replaced).is_success
            yield service, where


@pytest.fixture
def where(bundle: Bundle) -> dict[str, str]:
    return {"USHER_MODEL": str(bundle.path)}


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ([], "k=10"),
        (
            ["--k", "7", "--genre", "Drama", "--genre", "Comedy", "--year-min", "1985"],
            "k=7&genre=Drama&genre=Comedy&year_min=1985",
        ),
        (
            ["--k", "100", "--exclude", "{item}", "--year-max", "1999"],
            "k=100&exclude={item}&year_max=1999",
        ),
        (["--k", "40", "--include-seen"], "k=40&include_seen=true"),
        (["--year-min", "9000"], "year_min=9000"),
    ],
    ids=["ten", "genres and years", "a hundred but one item", "seen ones too", "nothing is left"],
)  # fmt: skip
def test_every_users_rows_are_the_live_answer(
    rated: tuple[Service, dict[str, str]],
    bundle: Bundle,
    tmp_path: Path,
    options: list[str],
    query: str,
) -> None:
    service, where = rated
    item = bundle.catalog.ids[50]
    named = [option.format(item=item) for option in options]
    assert batch(where, "--out", tmp_path / "out", "--part-users", "17", *named) == 0
    rows = recommended(tmp_path / "out")
    users = sorted([user.decode() for user in bundle.users.ids] + [NEWCOMER, FORGOTTEN])
    assert list(rows) == [user for user in users if user in rows]
    seen = 0
    for user in users:
        answer = service.client.get(
            f"/v1/users/{user}/recommendations?{query.format(item=item)}"
        ).json()
        expected = [
            as_row(rank, item, answer["basis"]) for rank, item in enumerate(answer["items"], 1)
        ]
        assert rows.get(user, []) == [pytest.approx(row, abs=TOLERANCE) for row in expected]
        seen += sum(row["rating"] is not None for row in expected)
    assert (seen > 0) == ("--include-seen" in options)


def test_columns_are_typed_and_numbers_rounded_as_in_answers(
    where: dict[str, str], bundle: Bundle, tmp_path: Path
) -> None:
    assert batch(where, "--out", tmp_path, "--part-users", "25") == 0
    parts = sorted(path.name for path in tmp_path.glob("*.parquet"))
    assert parts == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    frame = pl.read_parquet(tmp_path / parts[0])
    text, number = pl.String(), pl.Float32()
    assert dict(frame.schema) == {
        "user_id": text, "rank": pl.UInt8(), "item_id": text, "title": text,
        "preference_score": number, "predicted_rating": number, "low": number, "high": number,
        "rating": number, "basis": text,
    }  # fmt: skip
    for name in ("preference_score", "predicted_rating", "low", "high"):
        exact = frame[name].to_numpy()
        np.testing.assert_array_equal(exact, np.round(exact.astype(float), 3).astype(np.float32))
    metadata = pl.read_parquet_metadata(tmp_path / parts[0])
    assert metadata["usher.model_digest"] == bundle.digest
    assert json.loads(metadata["usher.selection"])["k"] == 10


def test_the_record_and_the_summary_count_what_is_there(
    where: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "users.txt"
    listed.write_text("4\n\n1\n nobody \n4\n")
    out = tmp_path / "out"
    narrow: list[str | Path] = ["--users", listed, "--k", "100", "--genre", "Drama"]
    assert batch(where, "--out", out, "--json", *narrow) == 0
    told = json.loads(capsys.readouterr().out)
    rows = recommended(out)
    assert list(rows) == ["1", "4", "nobody"]
    assert {row["basis"] for row in rows["nobody"]} == {"cold_start"}
    manifest = json.loads((out / "_manifest.json").read_text())
    (part,) = manifest["parts"]
    assert part["bytes"] == told["bytes"] == (out / "part-00000.parquet").stat().st_size
    assert part["rows"] == told["rows"] == sum(map(len, rows.values()))
    assert (told["users"], told["cold_start_users"], told["short_users"]) == (3, 1, 3)
    assert manifest["finished_at"] >= manifest["started_at"]
    assert told["cpu_s"] > 0
    assert (out / "_SUCCESS").read_bytes() == b""


# ---- going on


def test_only_missing_damaged_and_foreign_parts_are_made_again(
    where: dict[str, str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    others = tmp_path_factory.mktemp("others")
    assert batch(where, "--out", others, "--part-users", "10", "--k", "4") == 0
    arguments: list[str | Path] = ["--out", tmp_path, "--part-users", "10", "--json"]
    assert batch(where, *arguments) == 0
    expected = recommended(tmp_path)
    (tmp_path / "_SUCCESS").unlink()
    (tmp_path / "part-00001.parquet").unlink()
    (tmp_path / "part-00003.parquet").write_bytes(b"PAR1 but cut short")
    (tmp_path / ".part-00001.parquet.half").write_bytes(b"left by a kill")
    shutil.copy(others / "part-00005.parquet", tmp_path)
    kept = {path.name: path.stat().st_ino for path in tmp_path.glob("part-*.parquet")}
    capsys.readouterr()
    assert batch(where, *arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["parts"], told["parts_kept"], told["users_computed"]) == (6, 3, 30)
    assert recommended(tmp_path) == expected
    after = {path.name: path.stat().st_ino for path in tmp_path.glob("part-*.parquet")}
    made_again = {name for name in kept if after[name] != kept[name]}
    assert made_again == {"part-00003.parquet", "part-00005.parquet"}
    assert not list(tmp_path.glob(".*.half"))


@pytest.mark.parametrize(
    ("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_stopped_run_keeps_its_parts_and_goes_on(
    where: dict[str, str], tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    listed, out = tmp_path / "users.txt", tmp_path / "out"
    listed.write_text("".join(f"somebody-{n}\n" for n in range(20_000)))
    arguments = ["--out", str(out), "--users", str(listed), "--part-users", "200", "--k", "3"]
    child = subprocess.Popen(
        [*COMMAND, *arguments], cwd=ROOT, env=os.environ | where, stderr=subprocess.PIPE, text=True
    )
    with child:
        await_condition(lambda: (out / "part-00002.parquet").exists(), "some parts are there")
        child.send_signal(sign)
        assert child.wait() == code
        assert child.stderr is not None
        said = child.stderr.read()
    assert "Traceback" not in said
    assert ("goes on after the finished parts" in said) == (code > 0)
    assert not (out / "_SUCCESS").exists()
    before = len(list(out.glob("part-*.parquet")))
    assert 3 <= before < 100
    assert batch(where, *arguments) == 0
    rows = recommended(out)
    assert list(rows) == sorted(listed.read_text().split())
    assert all(rows[user] == rows["somebody-0"] for user in ("somebody-1", "somebody-19999"))


def test_users_who_come_meanwhile_do_not_stop_a_run_from_going_on(
    rated: tuple[Service, dict[str, str]], bundle: Bundle, tmp_path: Path
) -> None:
    service, where = rated
    assert batch(where, "--out", tmp_path, "--part-users", "30") == 0
    users = list(recommended(tmp_path))
    (tmp_path / "_SUCCESS").unlink()
    (tmp_path / "part-00000.parquet").unlink()
    path = f"/v1/users/aa-came-meanwhile/ratings/{bundle.catalog.ids[0]}"
    try:
        assert service.client.put(path, json={"rating": 4}).is_success
        assert batch(where, "--out", tmp_path, "--part-users", "30") == 0
        assert list(recommended(tmp_path)) == users
        assert batch(where, "--out", tmp_path, "--again") == 0
        assert list(recommended(tmp_path)) == sorted([*users, "aa-came-meanwhile"])
    finally:
        service.client.delete("/v1/users/aa-came-meanwhile/ratings")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["--k", "5"], 'other parameters ({"k":4})'),
        (["--k", "4", "--part-users", "9"], "parts of 25,000 users"),
        (["--k", "4", "--users", "{users}"], "other users (60 of them)"),
        (["--k", "4"], "holds all parts already, finished at "),
    ],
)
def test_what_another_run_has_left_is_not_mixed_with(
    where: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: list[str],
    told: str,
) -> None:
    listed, out = tmp_path / "users.txt", tmp_path / "out"
    listed.write_text("1\n")
    assert batch(where, "--out", out, "--k", "4") == 0
    options = [option.format(users=listed) for option in changed]
    before = sorted((path.name, path.stat().st_mtime_ns) for path in out.iterdir())
    capsys.readouterr()
    assert batch(where, "--out", out, *options) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "--again" in said
    assert len(said.splitlines()) == 1
    assert sorted((path.name, path.stat().st_mtime_ns) for path in out.iterdir()) == before
    assert batch(where, "--out", out, "--again", *options) == 0


def test_two_runs_do_not_write_to_one_folder(
    where: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held_folder(tmp_path):
        assert batch(where, "--out", tmp_path) == 2
    assert re.fullmatch(r"Another run is writing to .*\n", capsys.readouterr().err)
    assert batch(where, "--out", tmp_path) == 0
