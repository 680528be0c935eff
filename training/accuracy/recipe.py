"""What makes a measured row out of date: other settings, or other code behind the model.

A recipe is the digest of a cell's settings and of the source of every module of ours that the
model is made by, found by following imports. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("training", "models")
# They decide what is told and written; or what they yield is told apart by itself: values of a
# configuration are settings of the recipe, and rows read from a source are in the split's digest.
APART = frozenset(
    {
        "models.bundle",
        "training.config",
        "training.ensembles.ensemble_report",
        "training.errors",
        "training.export",
        "training.publish",
        "training.evaluation.reliability",
        "training.report",
        "training.evaluation.scores",
        "training.ensembles.serving_price",
        "training.sources",
    }
)
# Formulas and rows, which every figure depends on.
COMMON = ("training.evaluation.evaluate", "training.evaluation.metrics", "training.split")


def recipe(settings: dict[str, Any], modules: Sequence[str], root: Path = ROOT) -> str:
    """SHA-256 over settings (JSON) and the code of the modules and of all they import of ours.

    `root` is the folder of the packages; a process reads each module once.
    """
    sha256 = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for module in sorted(_closure((*modules, *COMMON), root)):
        sha256.update(module.encode() + _code(module, root))
    return sha256.hexdigest()


def _closure(modules: Sequence[str], root: Path) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found and not _apart(module) and _path(module, root):
            found.add(module)
            waiting += _imports(module, root)
    return found


def _apart(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in APART)


@cache
def _imports(module: str, root: Path) -> tuple[str, ...]:
    """Modules of ours that `module` may import; a name may be a module or something in one."""
    names: list[str] = []
    for node in ast.walk(_tree(module, root)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.partition(".")[0] in PACKAGES)


@cache
def _code(module: str, root: Path) -> bytes:
    return ast.dump(_tree(module, root)).encode()


@cache
def _tree(module: str, root: Path) -> ast.Module:
    path = _path(module, root)
    tree = ast.parse(path.read_text() if path else "")
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return tree


def _is_text(node: ast.AST) -> bool:
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant and isinstance(node.value.value, str)  # type: ignore[attr-defined]


def _path(module: str, root: Path) -> Path | None:
    stem = root / module.replace(".", "/")
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None
