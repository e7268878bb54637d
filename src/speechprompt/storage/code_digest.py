"""A digest of the code that a stage runs: an edit re-runs the stages that use it and no others.

Snakemake does not see edits in imported code. Every rule therefore carries, as a parameter, a hash
of the functions, classes and constants that its stage reaches. They are found in the syntax trees:
nothing is executed or imported.

What counts:

- a function or class that the stage names, and all that these name in turn, across modules and by
  imports inside functions;
- of each module on the way, the statements that run when it is imported (constants, tables), and
  its data files (:mod:`speechprompt.storage.package_data`).

What does not count:

- comments, docstrings, layout, ``__all__`` and imports that only a type checker sees;
- the room ``config``: values of settings reach a stage as parameters of its rule already, and an
  edited description or check changes no result.

A module that is chosen by its name at run time, such as an encoder by its kind, is not found this
way: whoever asks for a digest names it.
"""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.package_data import data_files

__all__ = ["digest", "reached_by"]

PACKAGE = Path(__file__).parents[1]
SETTINGS_ROOM = "config"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# A module, and a name in it; None is all of the module.
Symbol = tuple[str, str | None]


def digest(*names: str) -> str:
    """Hash some code together with all code of the package that it reaches.

    Args:
        names: Modules below the package such as ``units.codebook``, or what they define, such as
            ``units.codebook:fit_codebook``. A method stands for its class.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    text = "\n".join(sorted(reached_by(*names)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def reached_by(*names: str) -> set[str]:
    """Return the code that :func:`digest` hashes, each statement after the name of its module.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    pending = [_symbol(name) for name in names]
    seen: set[Symbol] = set()
    reached: set[str] = set()
    while pending:
        symbol = pending.pop()
        if symbol in seen or _room(symbol[0]) == SETTINGS_ROOM:
            continue
        seen.add(symbol)
        module = _read(symbol[0])
        reached |= {f"{module.name} {line}" for line in module.data}
        for piece in module.pieces_of(symbol[1]):
            reached.add(f"{module.name} {piece.source}")
            pending += piece.imports
            pending += [(module.name, name) for name in piece.names if module.has(name)]
        pending += module.targets_of(symbol[1])
    return reached


@dataclass(frozen=True)
class _Piece:
    """A statement at the top of a module."""

    node: ast.stmt

    @cached_property
    def source(self) -> str:
        """The statement without comments, docstrings and layout."""
        return ast.unparse(self.node)

    @cached_property
    def names(self) -> set[str]:
        """All names that it uses, in any scope."""
        return {node.id for node in ast.walk(self.node) if isinstance(node, ast.Name)}

    @cached_property
    def imports(self) -> list[Symbol]:
        """What the statement itself imports."""
        return list(_imports(self.node))


@dataclass
class _Module:
    """The statements of a module.

    Attributes:
        name: its name below the package.
        data: names and hashes of its data files.
        at_import: the statements that run when it is imported.
        definitions: the statements that define each name.
        imported: names that it imports from other modules of the package.
    """

    name: str
    data: list[str]
    at_import: list[_Piece] = field(default_factory=list)
    definitions: dict[str, list[_Piece]] = field(default_factory=dict)
    imported: dict[str, Symbol] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether a name is one of the module's own or imported ones."""
        return name in self.definitions or name in self.imported

    def pieces_of(self, name: str | None) -> list[_Piece]:
        """The statements that a name needs; all of them if the module does not have the name."""
        if name is None or not (self.has(name) or _find(f"{self.name}.{name}")):
            named = [piece for pieces in self.definitions.values() for piece in pieces]
        else:
            named = self.definitions.get(name, [])
        return [*self.at_import, *named]

    def targets_of(self, name: str | None) -> list[Symbol]:
        """What the name itself stands for in other modules."""
        if name is None:
            return list(self.imported.values())
        if name in self.imported:
            return [self.imported[name]]
        below = f"{self.name}.{name}"
        return [(below, None)] if name not in self.definitions and _find(below) else []


# The parsed modules. A digest describes the code as it was when the process read it first.
_MODULES: dict[str, _Module] = {}


def _read(name: str) -> _Module:
    if name not in _MODULES:
        _MODULES[name] = _parse(name)
    return _MODULES[name]


def _parse(name: str) -> _Module:
    path = _find(name)
    tree = _tree(name)
    module = _Module(name, [f"{file.name} {sha256_file(file)}" for file in data_files(path or "")])
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module.imported |= _bound_names(node)
            continue
        names = _defined_names(node)
        if names == {"__all__"} or _is_for_type_checkers(node):
            continue
        piece = _Piece(node)
        for defined in names:
            module.definitions.setdefault(defined, []).append(piece)
        if not isinstance(node, Definition):
            module.at_import.append(piece)
    return module


def _tree(name: str) -> ast.Module:
    """A module's syntax tree without docstrings."""
    path = _find(name)
    if path is None:
        raise ModuleNotFoundError(f"speechprompt.{name}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, Definition | ast.Module) and ast.get_docstring(node, clean=False):
            node.body[:1] = [] if len(node.body) > 1 or node is tree else [ast.Pass()]
    return tree


def _find(module: str) -> Path | None:
    base = PACKAGE.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _symbol(name: str) -> Symbol:
    """What ``module``, ``module:function`` or ``module:Class.method`` names."""
    module, _, path = name.partition(":")
    return module, path.split(".")[0] or None


def _room(module: str) -> str:
    return module.partition(".")[0]


def _imports(tree: ast.AST) -> Iterator[Symbol]:
    """All that a tree imports from the package, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _bound_names(node).values()


def _bound_names(node: ast.Import | ast.ImportFrom) -> dict[str, Symbol]:
    """Names that an import statement binds, and the part of the package behind each."""
    if isinstance(node, ast.Import):
        ours = [alias for alias in node.names if alias.name.startswith("speechprompt.")]
        return {a.asname or a.name: (a.name.removeprefix("speechprompt."), None) for a in ours}
    package, _, module = (node.module or "").partition(".")
    if package != "speechprompt":
        return {}
    if not module:
        modules = [alias for alias in node.names if _find(alias.name)]
        return {alias.asname or alias.name: (alias.name, None) for alias in modules}
    return {alias.asname or alias.name: (module, alias.name) for alias in node.names}


def _defined_names(node: ast.stmt) -> set[str]:
    """Names that a statement at the top of a module gives a value."""
    if isinstance(node, Definition):
        return {node.name}
    inner = list(ast.walk(node))
    stored = {n.id for n in inner if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {n.name for n in inner if isinstance(n, Definition)}


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
