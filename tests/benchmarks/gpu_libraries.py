"""Whether the pinned GPU libraries are those that onnxruntime-gpu asks for. Takes no GPU.

    make check-gpu-libraries

It installs requirements/service-gpu.txt (2.7 GB) in an environment of its own, resolves both
GPU providers against NVIDIA's wheels with the system's loader, down to every symbol, and has the
service's own code load them. What it found is kept in results/gpu-libraries.json, and a test holds
the pins against that. TensorRT's wheel is opened where NVIDIA's own index is reached, and else
reported as not seen.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
REQUIREMENTS = ROOT / "requirements"
RESULT = ROOT / "results" / "gpu-libraries.json"
ENVIRONMENT = ROOT / ".usher" / "gpu-libraries"
PACKAGES = re.compile(r"nvidia-(?!ml)|onnxruntime|cuda-toolkit|tensorrt")
TENSORRT = re.compile(r"libnv(infer|onnxparser)\.")
DRIVER = "libcuda.so.1"
"""What comes from the machine that runs a container; its functions are `cuSomething`."""
DRIVER_SYMBOL = re.compile(r"cu[A-Z]")
PRELOAD = """
import sys
from service.providers import preload_libraries
preload_libraries(["TensorrtExecutionProvider", "CUDAExecutionProvider"])
for line in open("/proc/self/maps"):
    print(line.split()[-1])
"""


def main() -> int:
    """Check, print and keep the findings; 1 if a library or symbol is missing."""
    python = ENVIRONMENT / "bin" / "python"
    venv.create(ENVIRONMENT, with_pip=True)
    _install(python, "-r", str(REQUIREMENTS / "service-gpu.txt"))
    tensorrt = _tensorrt_pin()
    opened = _install(python, tensorrt, must=False)
    findings = _findings(python, "" if opened else tensorrt)
    RESULT.write_text(json.dumps(findings, indent=2) + "\n")
    print(RESULT.read_text(), end="")
    return 1 if any(found["missing"] for found in findings["providers"].values()) else 0


def _tensorrt_pin() -> str:
    lines = (REQUIREMENTS / "tensorrt.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith("tensorrt"))


def _install(python: Path, *what: str, must: bool = True) -> bool:
    command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *what]
    return subprocess.run(command, check=must, capture_output=not must).returncode == 0


def _findings(python: Path, not_seen: str) -> dict[str, Any]:
    """What is installed, what each provider resolves to and what it lacks, what gets loaded."""
    site = next((ENVIRONMENT / "lib").glob("python3*/site-packages"))
    wheels = [*site.glob("nvidia/**/*.so*"), *site.glob("tensorrt_libs/*.so*")]
    folders = sorted({str(library.parent) for library in wheels})
    loaded = set(_output(python, "-c", PRELOAD).split())
    capi = site / "onnxruntime" / "capi"
    return {
        "command": "make check-gpu-libraries",
        "packages": _packages(python),
        "not_seen": not_seen,
        "providers": {
            name: _resolved(capi / f"libonnxruntime_providers_{name}.so", folders, bool(not_seen))
            for name in ("cuda", "tensorrt")
        },
        "loaded_by_the_service": sorted(path.name for path in wheels if str(path) in loaded),
    }


def _packages(python: Path) -> dict[str, str]:
    lines = _output(python, "-m", "pip", "freeze").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name: version for name, version in pairs if PACKAGES.match(name)}


def _resolved(provider: Path, folders: list[str], without_tensorrt: bool) -> dict[str, Any]:
    """What the loader finds for a provider in the wheels, and what nobody provides."""
    shared = provider.with_name("libonnxruntime_providers_shared.so")  # loaded before any provider
    search = {"LD_LIBRARY_PATH": ":".join(folders), "LD_PRELOAD": str(shared)}
    answer = subprocess.run(
        ["ldd", "-r", provider], env=os.environ | search, capture_output=True, text=True
    )
    said = answer.stdout + answer.stderr
    found = dict(re.findall(r"^\s*(\S+) => (\S+)", said, flags=re.MULTILINE))
    absent = {name for name, path in found.items() if path == "not"}
    not_seen = {name for name in absent if without_tensorrt and TENSORRT.match(name)}
    symbols = set() if not_seen else set(re.findall(r"undefined symbol: (\S+)", said))
    return {
        "finds": sorted(name for name, path in found.items() if path.startswith(tuple(folders))),
        "from_the_driver": sorted(absent & {DRIVER}),
        "not_seen": sorted(not_seen),
        "missing": sorted(
            (absent - not_seen - {DRIVER})
            | {symbol for symbol in symbols if not DRIVER_SYMBOL.match(symbol)}
            | set(re.findall(r"version `(\S+)' not found", said))
        ),
    }


def _output(python: Path, *arguments: str) -> str:
    command = [str(python), *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
