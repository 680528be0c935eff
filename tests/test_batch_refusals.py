"""What keeps a batch from its work is told in one sentence, and nothing half done is left."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from models.bundle import Bundle
from tests.batch_runs import COMMAND, batch, recommended, run
from tests.service_fixtures import ROOT, RedisServer


@pytest.fixture
def where(bundle: Bundle) -> dict[str, str]:
    return {"USHER_MODEL": str(bundle.path)}


def refused(
    capsys: pytest.CaptureFixture[str], environment: dict[str, str], *arguments: str
) -> str:
    """The one line a refused run says."""
    capsys.readouterr()
    assert batch(environment, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--k", "0"], "option k: Input should be greater than or equal to 1."),
        (["--k", "101"], "option k: "),
        (["--year-min", "2000", "--year-max", "1990"], "year_min is later than year_max"),
        (["--genre", "Knitting"], "The catalogue has no genre Knitting; it has "),
        (["--exclude", "no-such-item"], "The catalogue has no item no-such-item."),
        (["--users", "{folder}/absent.txt"], "absent.txt cannot be read (No such file"),
        (["--users", "{folder}"], "cannot be read (Is a directory)"),
        (["--users", "{folder}/bad.txt"], "Line 2 of "),
        (["--users", "{folder}/empty.txt"], "names nobody"),
        (["--users", "{folder}/bytes"], "is not text"),
        (["--warm-cache"], "There is no cache to warm: set USHER_CACHE_URL"),
    ],
)
def test_options_that_cannot_be_used_are_named(
    where: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    told: str,
) -> None:
    (tmp_path / "bad.txt").write_text("1\nno user's id\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    out = tmp_path / "out"
    named = [option.format(folder=tmp_path) for option in options]
    assert told in refused(capsys, where, "--out", str(out), *named)
    assert not list(out.glob("[!.]*"))


def test_without_a_model_it_says_how_to_get_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, {"USHER_MODEL": "usher:absent"}, "--out", str(tmp_path))
    assert "There is no model usher:absent" in line
    assert "make train" in line


def test_half_a_history_is_a_wrong_one(
    where: dict[str, str],
    redis_server: RedisServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = where | {"USHER_RATINGS_URL": redis_server.url}
    out = str(tmp_path)
    redis_server.command("HSET", "usher:ratings:3", "7", "what nobody of us wrote")
    assert "this service did not write" in refused(capsys, kept, "--out", out)
    redis_server.command("SET", "usher:ratings:3", "no hash at all")
    assert "The ratings Redis does not answer" in refused(capsys, kept, "--out", out)
    redis_server.command("DEL", "usher:ratings:3")
    out = str(tmp_path / "anew")
    redis_server.command("HSET", "usher:ratings:bad id", "@version", "x")
    assert "this service did not write" in refused(capsys, kept, "--out", out)
    redis_server.stop()
    assert "The ratings Redis does not answer" in refused(capsys, kept, "--out", out)
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("a-file", "cannot be written (File exists)"),
        ("a-file/below", "cannot be written (Not a directory)"),
        ("others", "holds report.docx, which is no part of a batch"),
        ("garbled", "is not what this version of Usher writes"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(
    where: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    place: str,
    told: str,
) -> None:
    (tmp_path / "a-file").write_text("")
    for folder, name in (("others", "report.docx"), ("garbled", "_manifest.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("{}")
    assert told in refused(capsys, where, "--out", str(tmp_path / place))
    assert (tmp_path / "others" / "report.docx").exists()


def test_an_empty_folder_is_as_good_as_none(where: dict[str, str], tmp_path: Path) -> None:
    assert batch(where, "--out", tmp_path) == 0
    assert len(recommended(tmp_path)) == 60


def test_a_disk_that_takes_no_more_ends_it_with_finished_parts_kept(
    where: dict[str, str], tmp_path: Path
) -> None:
    """A limit on the size of files is met on the same way as the end of a disk."""
    listed, out = tmp_path / "users.txt", tmp_path / "out"
    listed.write_text("".join(f"somebody-{n}\n" for n in range(300)))
    arguments = ["--out", str(out), "--users", str(listed), "--part-users", "100", "--k", "100"]
    assert batch(where, *arguments) == 0
    (out / "part-00001.parquet").unlink()
    (out / "_SUCCESS").unlink()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

    full = subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, env=os.environ | where, capture_output=True, text=True,
        preexec_fn=limit,
    )  # fmt: skip
    assert full.returncode == 2
    (line,) = full.stderr.splitlines()
    assert "part-00001.parquet cannot be written (File too large)" in line
    assert not list(out.glob(".*.half"))
    assert len(list(out.glob("part-*.parquet"))) == 2
    assert batch(where, *arguments) == 0


def test_without_polars_it_says_what_to_install(where: dict[str, str], tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['polars'] = None; from service.batch.__main__ import main; "
        f"sys.exit(main(['--out', {str(tmp_path)!r}]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=os.environ | where, capture_output=True,
        text=True,
    )  # fmt: skip
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert "pip install polars" in line


def test_running_it_needs_no_torch_and_polars_only_to_write() -> None:
    program = (
        "import sys; import service.batch.__main__; "
        "sys.exit(bool({'torch', 'training', 'polars'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_out_or_warm_only_has_to_be_chosen(where: dict[str, str], tmp_path: Path) -> None:
    for arguments in ((), ("--out", tmp_path, "--warm-only"), ("--part-users", "0")):
        answer = run(*arguments, **where)
        assert answer.returncode == 2
        assert "Traceback" not in answer.stderr
