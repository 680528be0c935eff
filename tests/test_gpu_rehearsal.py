"""The image for NVIDIA GPUs: a real engine builds it as docs/operations.md says, and has no GPU.

Gigabytes of CUDA come from PyPI. Where NVIDIA's own index is not reached, a wheel without content
stands in for TensorRT's, so what is tested then is everything but that library.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.container_engine import GIGABYTES, PYTHON, ContainerEngine
from tests.doc_blocks import Checkout, blocks_of, tiny_data
from tests.service_fixtures import ROOT, await_condition

ASKED = "TEST_GPU_IMAGE"
INDEX = "https://pypi.nvidia.com"
BUILD_S = 3600
KEY = "a-key-of-the-tests"
WHY = "Usher does not start. No NVIDIA GPU is seen here, and USHER_PROVIDERS allows tensorrt, cuda:"


@pytest.fixture
def checkout(tmp_path: Path, container_engine: ContainerEngine) -> Iterator[Checkout]:
    if not os.environ.get(ASKED):
        # Not unasked: 3 GB come over the network and stay in Docker while it runs, CI included.
        pytest.skip(f"installs 3 GB of CUDA in an image; {ASKED}=1 asks for it")
    (tmp_path / "tree").mkdir()
    made = Checkout.make(tmp_path / "tree", tiny_data(tmp_path / "data"))
    made.environment.update(container_engine.environment)
    with tensorrt_within_reach(container_engine, tmp_path):
        yield made


@contextmanager
def tensorrt_within_reach(engine: ContainerEngine, folder: Path) -> Iterator[None]:
    """Have pip find the pinned wheel of TensorRT, if need be within the image ours is made from.

    What is built from that inherits its label, so that the gigabytes of the first stage go too.
    """
    before = engine.docker("image", "inspect", "--format", "{{.Id}}", PYTHON).strip()
    label = f"usher-test={engine.project}"
    lines = [f"FROM {PYTHON}", f"LABEL {label}"]
    context = folder / "base"
    context.mkdir()
    if not _answers(INDEX):
        _write_empty_wheel(context)
        lines += ["COPY *.whl /stand-ins/", "ENV PIP_FIND_LINKS=/stand-ins"]
    (context / "Dockerfile").write_text("\n".join(lines))
    engine.docker("build", "-q", "-t", PYTHON, context)
    try:
        yield
    finally:
        engine.docker("tag", before, PYTHON)
        engine.docker("image", "prune", "--force", "--filter", f"label={label}")


def test_the_gpu_image_is_built_and_not_ready_without_a_gpu(
    checkout: Checkout, container_engine: ContainerEngine
) -> None:
    (block,) = (block for block in blocks_of("docs/operations.md") if block.needs == GIGABYTES)
    said = checkout.shell(block.text, BUILD_S)
    built = re.search(r"^Built (\S+)\. ", said, re.MULTILINE)
    (command,) = [line.strip() for line in said.splitlines() if "run --read-only" in line]
    assert built is not None
    name = f"{container_engine.project}-gpu"
    command = command.replace("docker run", f"docker run --detach --name {name}")
    command = command.replace("--gpus all -v usher-engines:/engines", f"-v {name}:/engines")
    command = command.replace("-p 3000:3000", f"-p 127.0.0.1:{checkout.port}:3000")
    try:
        checkout.shell(f"export USHER_API_KEYS={KEY}; {command}")

        await_condition(
            lambda: WHY in checkout.shell(f"docker logs {name}"), "the log says why", timeout_s=120
        )
        assert not _answers(f"http://127.0.0.1:{checkout.port}/readyz")
    finally:
        container_engine.docker("rm", "--force", name)
        container_engine.docker("volume", "rm", "--force", name)
        container_engine.docker("image", "rm", "--force", built[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10, follow_redirects=True).is_success
    except httpx.TransportError:
        return False


def _write_empty_wheel(folder: Path) -> None:
    """TensorRT's wheel by name and version, without a library in it."""
    pin = re.search(
        r"^([\w-]+)==([\d.]+)$", (ROOT / "requirements" / "tensorrt.txt").read_text(), re.MULTILINE
    )
    assert pin is not None
    name, version = pin[1].replace("-", "_"), pin[2]
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {pin[1]}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
