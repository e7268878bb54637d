"""A digest of the package modules that a stage uses, so that an edit re-runs that stage only.

Snakemake does not see edits in imported code. Every rule therefore carries, as a parameter, the
hash of its modules' syntax trees: comments, docstrings and layout do not count. A module's data
files count, see :mod:`speechprompt.storage.package_data`.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.package_data import data_files

__all__ = ["digest", "imports_of"]

PACKAGE = Path(__file__).parents[1]


def digest(*modules: str) -> str:
    """Hash the given modules, by name below the package, and all of the package they import."""
    pending, seen = list(modules), set()
    while pending:
        module = pending.pop()
        if module not in seen:
            seen.add(module)
            pending += _parse(module)[1]
    text = "\n".join(f"{module}\n{_parse(module)[0]}" for module in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def imports_of(module: str) -> tuple[str, ...]:
    """Modules of the package that a module imports, at its top or inside functions, by name."""
    return _parse(module)[1]


def _find(module: str) -> Path | None:
    base = PACKAGE.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def _parse(module: str) -> tuple[str, tuple[str, ...]]:
    """A module's normalised source with hashes of its data, and the package modules it imports."""
    path = _find(module)
    if path is None:
        raise ModuleNotFoundError(f"speechprompt.{module}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("speechprompt."):
            name = node.module.removeprefix("speechprompt.")
            below = {f"{name}.{alias.name}" for alias in node.names}
            imported |= {name} | {item for item in below if _find(item)}
        elif isinstance(node, ast.ImportFrom) and node.module == "speechprompt":
            imported |= {alias.name for alias in node.names if _find(alias.name)}
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.startswith("speechprompt.")]
            imported |= {name.removeprefix("speechprompt.") for name in names}
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            body[:1] = [] if len(body) > 1 else [ast.Pass()]
    source = ast.unparse(tree)
    for file in data_files(path):
        source += f"\n{file.name} {sha256_file(file)}"
    return source, tuple(sorted(imported))


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
