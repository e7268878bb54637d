"""Parameters of a function, from its signature and its docstring.

The source is parsed and not imported. A stage takes seconds to import, because torch does, and a
help text must not take as long.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Parameter", "read_parameters"]

PACKAGE = Path(__file__).parents[1]
REQUIRED = "required"  # in place of a default
# Markup in a docstring: ":func:`~module.name`" and "``name``".
MARKUP = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`|``([^`]*)``")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a function, or a field of a dataclass.

    Attributes:
        name: its name.
        type: its annotation, without ``None``.
        default: source of its default; :data:`REQUIRED` if it has none.
        text: its description in the docstring.
        settings: ``module:type`` if the annotation is a type of the configuration.
        choices: the values that a ``Literal`` allows.
    """

    name: str
    type: str
    default: str
    text: str
    settings: str
    choices: tuple[str, ...] = ()


def read_parameters(function: str) -> dict[str, Parameter]:
    """Read the parameters of a function or method, or the fields of a dataclass.

    Args:
        function: ``module:name`` or ``module:Class.name`` below the package.
    """
    module, _, path = function.partition(":")
    tree = _parsed(module)
    settings: dict[str, str] = {}
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom):
            _, _, room = (statement.module or "").partition("speechprompt.config.")
            imported = [alias.name for alias in statement.names if room]
            settings |= {name: f"config.{room}:{name}" for name in imported}
    node: ast.Module | ast.ClassDef | ast.FunctionDef = tree
    for name in path.split("."):
        definitions = [one for one in node.body if isinstance(one, ast.ClassDef | ast.FunctionDef)]
        node = next(definition for definition in definitions if definition.name == name)
    texts = _described(ast.get_docstring(node) or "")
    found = {}
    for name, annotation, default in _declared(node):
        kind = annotation.removesuffix(" | None")
        text, choices = texts.get(name, ""), _choices(kind, tree)
        block = "" if choices else settings.get(kind, "")
        found[name] = Parameter(name, kind, default, text, block, choices)
    return found


@cache
def _parsed(module: str) -> ast.Module:
    base = PACKAGE.joinpath(*module.split("."))
    file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
    return ast.parse(file.read_text(encoding="utf-8"))


def _choices(kind: str, tree: ast.Module) -> tuple[str, ...]:
    """The values of a ``Literal``, or of the alias of one in this module or one that it imports."""
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and kind in {n.name for n in statement.names}:
            room = (statement.module or "").removeprefix("speechprompt.")
            return _choices(kind, _parsed(room)) if room != statement.module else ()
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == kind:
            kind = ast.unparse(statement.value)
    if not kind.startswith("Literal["):
        return ()
    return tuple(map(str, ast.literal_eval(f"({kind.removeprefix('Literal[')[:-1]},)")))


def _declared(node: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Name, annotation and default of each parameter of a function or field of a dataclass."""
    if isinstance(node, ast.ClassDef):
        for field in node.body:
            if isinstance(field, ast.AnnAssign):
                yield ast.unparse(field.target), ast.unparse(field.annotation), _source(field.value)
    elif isinstance(node, ast.FunctionDef):
        takes = node.args
        own = [*takes.args, *takes.kwonlyargs]
        missing = [None] * (len(takes.args) - len(takes.defaults))
        for argument, default in zip(
            own, [*missing, *takes.defaults, *takes.kw_defaults], strict=True
        ):
            if argument.annotation is not None:
                yield argument.arg, ast.unparse(argument.annotation), _source(default)


def _source(default: ast.expr | None) -> str:
    return REQUIRED if default is None else ast.unparse(default)


def _described(docstring: str) -> dict[str, str]:
    """The description of each name in the section Args or Attributes."""
    section = re.search(r"^(?:Args|Attributes):\n((?:(?: .*)?\n?)*)", docstring, re.MULTILINE)
    texts: dict[str, str] = {}
    for entry in re.split(r"\n(?= {4}\S)", section.group(1).rstrip()) if section else ():
        names, _, text = entry.strip().partition(": ")
        plain = MARKUP.sub(lambda match: match.group(1) or match.group(2), " ".join(text.split()))
        texts |= dict.fromkeys(names.split(", "), plain.rstrip("."))
    return texts
