"""Migration files: SQL with goose's annotations, taken apart. Only reads files.

Source of the rules: goose's own description of its annotations
(https://pressly.github.io/goose/blog/2022/overview-sql-file/).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"(\d+)_.*\.sql")
_ANNOTATION = re.compile(r"--\s*\+goose\s+(.*\S)\s*")
_UP, _DOWN, _NO_TRANSACTION = "Up", "Down", "NO TRANSACTION"
_BEGIN, _END = "StatementBegin", "StatementEnd"


class MigrationFileError(Exception):
    """A folder or file of migrations that goose could not read either."""


@dataclass(frozen=True)
class Migration:
    """One file of a migration folder.

    Attributes:
        version: the number its name begins with.
    """

    version: int
    path: Path


@dataclass(frozen=True)
class Script:
    """What a migration does on the way up.

    Attributes:
        statements: SQL, in order; one may hold several where the file wraps them in
            StatementBegin and StatementEnd.
        in_transaction: false where the file says NO TRANSACTION.
    """

    statements: tuple[str, ...]
    in_transaction: bool


def find_migrations(folder: Path) -> list[Migration]:
    """Return the migrations of a folder by version; files of other names are left out.

    Raises:
        MigrationFileError: no such folder, or a version that two files have.
    """
    if not folder.is_dir():
        raise MigrationFileError(f"{folder} directory does not exist")
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        version = int(match[1])
        if version in found:
            raise MigrationFileError(
                f"duplicate version {version} detected: {found[version].path.name}, {path.name}"
            )
        found[version] = Migration(version, path)
    return [found[version] for version in sorted(found)]


def parse(text: str) -> Script:
    """Return the way up that a migration file describes; its way down is never taken.

    Raises:
        MigrationFileError: no Up annotation, or a statement that does not end.
    """
    lines = text.splitlines()
    annotations = [match[1] for line in lines if (match := _ANNOTATION.fullmatch(line.strip()))]
    # goose refuses such a file, too, instead of taking it for an empty one.
    if _UP not in annotations:
        raise MigrationFileError("no '-- +goose Up' annotation found")
    return Script(tuple(_statements(lines)), _NO_TRANSACTION not in annotations)


def _statements(lines: list[str]) -> Iterator[str]:
    """Yield the statements between Up and Down: at semicolons, or whole between Begin and End."""
    upwards = wrapped = False
    statement: list[str] = []
    for line in lines:
        match = _ANNOTATION.fullmatch(line.strip())
        if match and match[1] == _DOWN:
            break
        if match:
            upwards = upwards or match[1] == _UP
            wrapped = (wrapped or match[1] == _BEGIN) and match[1] != _END
            ends = match[1] == _END
        else:
            if upwards and (statement or not _is_blank(line)):
                statement.append(line)
            ends = not wrapped and _ends_with_semicolon(line)
        if ends and statement:
            yield "\n".join(statement)
            statement = []
    if wrapped or not all(map(_is_blank, statement)):
        missing = _END if wrapped else "semicolon"
        first = statement[0] if statement else ""
        raise MigrationFileError(f"unfinished SQL statement, missing {missing}: {first}")


def _is_blank(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("--")


def _ends_with_semicolon(line: str) -> bool:
    """Tell whether the last word before a comment ends a statement."""
    return line.partition("--")[0].rstrip().endswith(";")
