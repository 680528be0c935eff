"""What code something was made by: a digest of modules of ours and of all they import of ours.

Imports are found by reading, so nothing is loaded. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("training", "models")


def code_digest(
    modules: Sequence[str], apart: Collection[str] = frozenset(), root: Path = ROOT
) -> str:
    """SHA-256 over the code of the modules and of what they import, `apart` left out.

    A name in `apart` stands for all modules below it. `root` is the folder of the packages; a
    process reads each module once.
    """
    sha256 = hashlib.sha256()
    for module in sorted(_closure(modules, apart, root)):
        sha256.update(module.encode() + _code(module, root))
    return sha256.hexdigest()


def _closure(modules: Sequence[str], apart: Collection[str], root: Path) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found and not _is_apart(module, apart) and _path(module, root):
            found.add(module)
            waiting += _imports(module, root)
    return found


def _is_apart(module: str, apart: Collection[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in apart)


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
