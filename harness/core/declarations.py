"""Literals that a Python file declares at its top level, each with its line; nothing is run.

A declaration that cannot be trusted to be what the file has when it runs is refused: one that is
built, changed or assigned twice. Every refusal begins with file, line and name.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from harness.machine.errors import UsageError, nearest

# Methods that change a list or dict in place: after one the literal is not the value.
_CHANGES = {
    *("append", "extend", "insert", "update", "setdefault", "pop", "popitem", "remove", "clear"),
    *("sort", "reverse"),
}
# What is bound inside of these is not the module's, unless it is declared global.
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True)
class Literal:
    """A literal, or a part of one.

    Attributes:
        place: ``FILE:LINE``.
        name: what it is called in errors: ``CHECKS['a']['client']``.
        value: what it is.
    """

    place: str
    name: str
    value: object
    node: ast.expr

    def error(self, text: str) -> UsageError:
        """Return the error that refuses it: the text goes on after its name."""
        return UsageError(f"{self.place}: {self.name}{text}")

    def entries(self) -> dict[object, Literal]:
        """Return the values of a dict by their keys, none of which is given twice."""
        if not isinstance(self.node, ast.Dict):
            raise self.error(" is not a dict")
        found: dict[object, Literal] = {}
        for key, node in zip(self.node.keys, self.node.values, strict=True):
            assert key is not None, "ast.literal_eval has refused a ** already"
            name = ast.literal_eval(key)
            part = self._part(f"[{name!r}]", node, key)
            if name in found:
                raise part.error(" is given twice")
            found[name] = part
        return found

    def items(self) -> tuple[Literal, ...]:
        """Return the parts of a list."""
        if not isinstance(self.node, ast.List):
            raise self.error(" is not a list")
        return tuple(self._part(f"[{i}]", node, node) for i, node in enumerate(self.node.elts))

    def text(self) -> str:
        """Return the value of a text."""
        if not isinstance(self.value, str):
            raise self.error(" is not a str")
        # No argument and no variable of a program can hold a NUL, no file half of a character.
        if "\0" in self.value or self.value != self.value.encode(errors="replace").decode():
            raise self.error(f" is {self.value!r}, which holds a NUL or half of a character")
        return self.value

    def word(self) -> str:
        """Return a text that is a name."""
        if not self.text().isidentifier():
            raise self.error(
                f" is {self.text()!r}, and a name of letters, digits and _ is expected"
            )
        return self.text()

    def one_of(self, choices: Collection[str]) -> str:
        """Return a text that is one of a few."""
        text = self.text()
        if text not in choices:
            expected = " or ".join(choices)
            raise self.error(f" is {text!r}; {expected} is expected{nearest(text, choices)}")
        return text

    def count(self) -> int:
        """Return a number of things, of which there is one at least."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value < 1:
            raise self.error(f" is {self.value!r}, and a number from 1 on is expected")
        return self.value

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(item.text() for item in self.items())

    def specifier(self) -> str:
        """Return a PEP 440 range."""
        text = self.text()
        try:
            SpecifierSet(text)
        except InvalidSpecifier as error:
            raise self.error(f": {error}") from error
        return text

    def requirement(self) -> str:
        """Return a PEP 508 requirement."""
        text = self.text()
        try:
            Requirement(text)
        except InvalidRequirement as error:
            # The error's further lines point at a place in the text.
            why = str(error).splitlines()[0]
            raise self.error(f" is {text!r}, which is no requirement: {why}") from error
        return text

    def fields(self, known: Collection[str]) -> dict[str, Literal]:
        """Return the fields of a dict that has no others than those known."""
        found = {}
        for name, value in self.entries().items():
            if not isinstance(name, str) or name not in known:
                raise self.error(f": unknown field {name!r}{nearest(str(name), known)}")
            found[name] = replace(value, name=f"{self.name}: {name}")
        return found

    def _part(self, suffix: str, node: ast.expr, key: ast.expr) -> Literal:
        file = self.place.rpartition(":")[0]
        return Literal(f"{file}:{key.lineno}", f"{self.name}{suffix}", ast.literal_eval(node), node)


@dataclass(frozen=True)
class Source:
    """A Python file, parsed.

    Attributes:
        path: where it is.
        content: its bytes.
        module: its syntax tree.
    """

    path: Path
    content: bytes
    module: ast.Module

    @property
    def classes(self) -> list[ast.ClassDef]:
        """The classes at the top level."""
        return [node for node in self.module.body if isinstance(node, ast.ClassDef)]

    @property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """The functions at the top level, by name."""
        return {node.name: node for node in self.module.body if isinstance(node, ast.FunctionDef)}

    def literals(self, names: Collection[str]) -> dict[str, Literal]:
        """Return what is declared of these names.

        Raises:
            UsageError: for one that is no literal, or not assigned just once and at the top level.
        """
        found: dict[str, Literal] = {}
        for statement in self.module.body:
            name, value = _assignment(statement)
            if name not in names or value is None:
                self._refuse_changes(statement, names)
            elif name in found:
                first = found[name].place.rpartition(":")[2]
                raise self._error(statement, name, f"is assigned twice, first in line {first}")
            else:
                found[name] = self._literal(name, value, statement)
        return found

    def _literal(self, name: str, node: ast.expr, statement: ast.stmt) -> Literal:
        try:
            # Not imported: probes import Metaflow, which is only in the environments of clients.
            value = ast.literal_eval(node)
        # All that literal_eval() may raise: the last two for what is nested too deeply.
        except (ValueError, TypeError, RecursionError, MemoryError) as error:
            raise self._error(statement, name, "is not a literal") from error
        return Literal(f"{self.path}:{statement.lineno}", name, value, node)

    def _refuse_changes(self, statement: ast.stmt, names: Collection[str]) -> None:
        for name, line in _changed(statement):
            if name in names:
                why = "is built or changed here; one literal at the top level is expected"
                raise UsageError(f"{self.path}:{line}: {name} {why}")

    def _error(self, statement: ast.stmt, name: str, text: str) -> UsageError:
        return UsageError(f"{self.path}:{statement.lineno}: {name} {text}")


def read_content(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        UsageError: when it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read as Python: {error}") from error


# A probe's file is read for what it declares, and right after that for what it imports.
@functools.lru_cache(maxsize=1)
def tree_of(path: Path, content: bytes) -> ast.Module:
    """Return the syntax tree of a Python file.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: when it has none.
    """
    return ast.parse(content.decode("utf-8"), filename=str(path))


def parse_source(path: Path, content: bytes) -> Source:
    """Parse the content of a Python file.

    Raises:
        UsageError: when it cannot be.
    """
    try:
        module = tree_of(path, content)
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as Python: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise UsageError(f"{path}: cannot be read as Python: it is nested too deeply") from error
    return Source(path, content, module)


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    """Return the name and value of a plain assignment of one name; an empty name for others."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return "", None
    name = targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""
    return name, statement.value


def _changed(statement: ast.stmt) -> Iterator[tuple[str, int]]:
    """Yield the module's names that a statement binds or changes, each with its line."""
    # Not ast.walk(), which cannot be kept out of functions and classes.
    left: list[ast.AST] = [statement]
    while left:
        node = left.pop()
        if isinstance(node, _SCOPES):
            yield getattr(node, "name", ""), node.lineno
            yield from _declared_global(node)
            continue
        yield from _changed_by(node)
        left.extend(ast.iter_child_nodes(node))


def _declared_global(scope: ast.AST) -> Iterator[tuple[str, int]]:
    for node in statements(scope):
        if isinstance(node, ast.Global):
            yield from ((name, node.lineno) for name in node.names)


def statements(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield a part of a file and all statements in it; ast.walk() takes ten times as long.

    It goes through what they are made of, too.
    """
    left = [scope]
    while left:
        node = left.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            # That of a lambda is no list.
            inner = getattr(node, name, None)
            left += inner if isinstance(inner, list) else ()


def _changed_by(node: ast.AST) -> Iterator[tuple[str, int]]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name, node.lineno
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            yield name, node.lineno
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if attr in _CHANGES:
            yield name, node.lineno
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            yield from ((alias.asname or alias.name, node.lineno) for alias in aliases)
