"""`python -m service.local`: what it starts, what it says, and that nothing of it stays."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from models.bundle import Bundle
from service.local.bento_server import free_port
from service.local.redis_server import answers, socket_path
from tests.service_fixtures import RedisServer, await_condition

ROOT = Path(__file__).resolve().parent.parent


def command(state: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "service.local", *arguments, "--state", str(state)]


def run(state: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(state, *arguments),
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@contextmanager
def serving(state: Path, port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`serve` as a child of the test, once it has said that it answers."""
    child = subprocess.Popen(
        command(state, "serve", "--port", str(port)),
        cwd=ROOT,
        env=os.environ | environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.terminate()


def lines_until_curl(child: subprocess.Popen[str]) -> list[str]:
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line.rstrip())
        if line.startswith("Try: curl"):
            break
    return lines


def redis_runs(state: Path) -> bool:
    return any(answers(socket_path(state.resolve() / "redis" / n)) for n in ("cache", "ratings"))


def families(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_demo_prints_a_top_10_and_leaves_nothing_running(tmp_path: Path, bundle: Bundle) -> None:
    answer = run(tmp_path, "demo", USHER_MODEL=str(bundle.path), COLUMNS="200")
    assert answer.returncode == 0, answer.stderr
    years = zip(bundle.catalog.titles, bundle.catalog.years, strict=True)
    titles = {f"{title} ({year})" if year else title for title, year in years}
    rows = re.findall(r"^ *(\d+) +(.+?)  .* (\d\.\d\d) +\d\.\d\d to \d\.\d\d", answer.stdout, re.M)
    assert [int(rank) for rank, _, _ in rows] == list(range(1, 11))
    assert {title for _, title, _ in rows} <= titles
    assert f"User {bundle.users.ids[0].decode()}, model usher:tiny" in answer.stdout
    assert not redis_runs(tmp_path)
    port = int(next((tmp_path / "logs").iterdir()).stem.removeprefix("serve-"))
    assert free_port(port) == port


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_where_and_ends_when_asked(
    tmp_path: Path, bundle: Bundle, sign: signal.Signals
) -> None:
    port = free_port()
    with serving(tmp_path, port, USHER_MODEL=str(bundle.path)) as child:
        lines = lines_until_curl(child)
        assert lines[0].startswith(f"Usher answers on http://127.0.0.1:{port};")
        assert any(str(tmp_path / "redis" / "ratings") in line for line in lines)
        url = lines[-1].removeprefix("Try: curl ").strip("'")
        asked = httpx.get(url, timeout=30)
        assert asked.status_code == 200
        assert len(asked.json()["items"]) == 10
        assert httpx.get(url, timeout=30).headers["x-cache"] == "hit"
        below = families(child)
        os.killpg(child.pid, sign)  # as a terminal does with Ctrl-C
        assert child.wait() == 0
        assert not any(process.is_running() for process in below)
    assert not redis_runs(tmp_path)


def test_a_killed_service_is_told_and_cleared_up(tmp_path: Path, bundle: Bundle) -> None:
    with serving(tmp_path, free_port(), USHER_MODEL=str(bundle.path)) as child:
        lines_until_curl(child)
        below = families(child)
        psutil.Process(child.pid).children()[0].kill()
        assert child.wait() == 1
        assert child.stderr is not None
        first = child.stderr.read().splitlines()[0]
        assert first.startswith("The service ended by itself with exit code -9; the end of ")
    await_condition(
        lambda: not any(p.is_running() and p.status() != "zombie" for p in below), "all have ended"
    )
    assert not redis_runs(tmp_path)


def test_a_stop_while_starting_ends_everything(tmp_path: Path, bundle: Bundle) -> None:
    with serving(tmp_path, free_port(), USHER_MODEL=str(bundle.path)) as child:
        logs = tmp_path / "logs"
        await_condition(lambda: logs.is_dir() and any(logs.iterdir()), "the service is started")
        child.terminate()
        assert child.wait() == 0
    assert not redis_runs(tmp_path)


def test_a_demo_that_is_stopped_has_no_result(tmp_path: Path, bundle: Bundle) -> None:
    child = subprocess.Popen(
        command(tmp_path, "demo"), cwd=ROOT, env=os.environ | {"USHER_MODEL": str(bundle.path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    logs = tmp_path / "logs"
    await_condition(lambda: logs.is_dir() and any(logs.iterdir()), "the service is started")
    child.send_signal(signal.SIGINT)
    printed, told = child.communicate(timeout=60)
    assert (child.returncode, printed) == (130, "")
    assert told == "Stopped before the service was ready.\n"
    assert not redis_runs(tmp_path)


def test_a_refused_bundle_is_told_with_the_reason(tmp_path: Path, bundle: Bundle) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundle.path, broken)
    weights = bytearray((broken / "weights.bin").read_bytes())
    weights[len(weights) // 2] ^= 1
    (broken / "weights.bin").write_bytes(weights)
    answer = run(tmp_path / "state", "demo", USHER_MODEL=str(broken))
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "weights.bin" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not redis_runs(tmp_path / "state")


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path, bundle: Bundle) -> None:
    port = free_port()
    with serving(tmp_path / "one", port, USHER_MODEL=str(bundle.path)) as child:
        lines_until_curl(child)
        arguments = ("serve", "--port", str(port))
        answer = run(tmp_path / "two", *arguments, USHER_MODEL=str(bundle.path))
    assert answer.returncode == 2
    assert re.fullmatch(rf"Port {port} cannot be used \(.+\): .+\n", answer.stderr)
    assert not (tmp_path / "two").exists()


def test_without_a_model_it_says_how_to_get_one(tmp_path: Path) -> None:
    answer = run(tmp_path, "serve", BENTOML_HOME=str(tmp_path / "empty"))
    assert answer.returncode == 2
    assert "make train" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert not (tmp_path / "redis").exists()


@pytest.mark.parametrize("port", ["0", "70000", "http", "-1"])
def test_a_port_is_a_number(tmp_path: Path, port: str) -> None:
    answer = run(tmp_path, "serve", f"--port={port}")
    assert answer.returncode == 2
    assert "is not a port: give a number from 1 to 65535" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_a_configured_redis_is_used_and_left_alone(
    tmp_path: Path, bundle: Bundle, redis_server: RedisServer
) -> None:
    url = redis_server.url
    where = {"USHER_MODEL": str(bundle.path), "USHER_CACHE_URL": url, "USHER_RATINGS_URL": url}
    answer = run(tmp_path, "demo", **where)
    assert answer.returncode == 0, answer.stderr
    assert not (tmp_path / "redis").exists()
    assert redis_server.command("DBSIZE") == b":1\r\n"


def test_two_services_of_one_folder_share_its_servers(tmp_path: Path, bundle: Bundle) -> None:
    with serving(tmp_path, free_port(), USHER_MODEL=str(bundle.path)) as child:
        url = lines_until_curl(child)[-1].removeprefix("Try: curl ").strip("'")
        assert run(tmp_path, "demo", USHER_MODEL=str(bundle.path)).returncode == 0
        assert httpx.get(url, timeout=30).headers["x-cache"] == "hit"  # the demo asked the same
    assert not redis_runs(tmp_path)


def test_running_it_needs_no_torch() -> None:
    code = "import service.local.__main__, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_guarded_service_is_asked_with_its_key_and_nobody_told(
    tmp_path: Path, bundle: Bundle
) -> None:
    where = {"USHER_MODEL": str(bundle.path), "USHER_API_KEYS": "a-secret-0123456789"}
    demo = run(tmp_path, "demo", **where)
    assert demo.returncode == 0, demo.stderr
    with serving(tmp_path, free_port(), **where) as child:
        said = lines_until_curl(child)[-1]
        assert "X-API-Key: YOUR-KEY" in said
        url = said.rsplit(" ", 1)[1].strip("'")
        assert httpx.get(url, timeout=30).status_code == 401
    told = demo.stdout + demo.stderr + said
    logs = "".join(log.read_text() for log in (tmp_path / "logs").iterdir())
    assert "a-secret" not in told + logs


def test_a_setting_that_cannot_be_used_is_told_without_a_traceback(
    tmp_path: Path, bundle: Bundle
) -> None:
    answer = run(tmp_path, "serve", USHER_MODEL=str(bundle.path), USHER_API_KEYS="short")
    assert answer.returncode == 2
    assert answer.stderr.startswith("USHER_API_KEYS cannot be used")
    assert len(answer.stderr.splitlines()) == 1
