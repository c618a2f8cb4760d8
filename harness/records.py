"""Checked reading of JSON files: every fault is named by file, entry and field.

A field is described by a parser: a function that takes what JSON held and returns the typed value,
or raises ValueError with the end of a sentence that begins with the name of the field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from harness.errors import UsageError, nearest

Parser = Callable[[Any], Any]


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        UsageError: no such file, not UTF-8, not JSON (with line and column), a key given twice.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_key_twice)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path.name}: not UTF-8: byte {error.start}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"{path.name}: not JSON: {where}: {error.msg}") from error
    except ValueError as error:
        raise UsageError(f"{path.name}: {error}") from error


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"field {key!r} is given twice in one entry")
    return dict(pairs)


def record(where: str, raw: Any, fields: Mapping[str, Parser]) -> dict[str, Any]:
    """Return the parsed fields of one entry, which has exactly these.

    Args:
        where: file and entry, which errors begin with: ``versions.json: clients[17] '2.2.1'``.
        raw: what JSON held.
        fields: name of each field and its parser.

    Raises:
        UsageError: no object; a field that is missing, unknown or of another kind.
    """
    if not isinstance(raw, dict):
        raise UsageError(f"{where}: expected an object, not {_shown(raw)}")
    for name in raw:
        if name not in fields:
            raise UsageError(f"{where}: unknown field {name!r}{nearest(name, fields)}")
    values = {}
    for name, parse in fields.items():
        if name not in raw:
            raise UsageError(f"{where}: field {name!r} is missing")
        try:
            values[name] = parse(raw[name])
        except ValueError as error:
            raise UsageError(f"{where}: field {name!r}: {error}") from error
    return values


def records(where: str, raw: Any, fields: Mapping[str, Parser], key: str) -> list[dict[str, Any]]:
    """Return the parsed entries of a list, no two of which have the same value of field ``key``.

    Raises:
        UsageError: as ``record`` does; and for an empty list or an entry given twice.
    """
    if not isinstance(raw, list) or not raw:
        raise UsageError(f"{where}: expected a list of entries, not {_shown(raw)}")
    seen: dict[Any, int] = {}
    parsed = []
    for index, entry in enumerate(raw):
        name = f" {entry[key]!r}" if isinstance(entry, dict) and key in entry else ""
        values = record(f"{where}[{index}]{name}", entry, fields)
        first = seen.setdefault(values[key], index)
        if first != index:
            raise UsageError(f"{where}[{index}]{name}: field {key!r}: also in {where}[{first}]")
        parsed.append(values)
    return parsed


def text(raw: Any) -> str:
    """Parse a text that is not empty."""
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError(f"expected a text, not {_shown(raw)}")
    return raw


def integer(raw: Any) -> int:
    """Parse a number of 0 or more."""
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
        raise ValueError(f"expected a whole number, not {_shown(raw)}")
    return raw


def boolean(raw: Any) -> bool:
    """Parse true or false."""
    if not isinstance(raw, bool):
        raise ValueError(f"expected true or false, not {_shown(raw)}")  # noqa: TRY004 - Parser
    return raw


def day(raw: Any) -> date:
    """Parse a date, ``2023-07-27``."""
    try:
        return date.fromisoformat(text(raw))
    except ValueError:
        raise ValueError(f"expected a date like 2023-07-27, not {_shown(raw)}") from None


def pep440(raw: Any) -> str:
    """Parse the text of a PEP 440 version; it stays a text."""
    try:
        Version(text(raw))
    except InvalidVersion:
        raise ValueError(f"{raw!r} is no PEP 440 version") from None
    return str(raw)


def specifier(raw: Any) -> str:
    """Parse the text of a PEP 440 range; it stays a text."""
    try:
        SpecifierSet(text(raw))
    except InvalidSpecifier:
        raise ValueError(f"{raw!r} is no PEP 440 range") from None
    return str(raw)


def requirement(raw: Any) -> str:
    """Parse the text of a PEP 508 requirement; it stays a text."""
    try:
        Requirement(text(raw))
    except InvalidRequirement:
        raise ValueError(f"{raw!r} is no requirement that pip understands") from None
    return str(raw)


def optional(parse: Parser) -> Parser:
    """Return a parser that also takes null, as None."""
    return lambda raw: None if raw is None else parse(raw)


def several(parse: Parser) -> Parser:
    """Return a parser of lists, as tuples, whose values differ from each other."""

    def parse_all(raw: Any) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            raise ValueError(f"expected a list, not {_shown(raw)}")  # noqa: TRY004 - Parser
        return _all_different(tuple(parse(value) for value in raw))

    return parse_all


def mapping(parse_key: Parser, parse_value: Parser) -> Parser:
    """Return a parser of objects with free keys."""

    def parse_all(raw: Any) -> dict[Any, Any]:
        if not isinstance(raw, dict):
            raise ValueError(f"expected an object, not {_shown(raw)}")  # noqa: TRY004 - Parser
        return {parse_key(key): parse_value(value) for key, value in raw.items()}

    return parse_all


def _all_different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is given twice")
    return values


def one_of(choices: Iterable[str], what: str) -> Parser:
    """Return a parser of names that exist: ``one_of(layouts, "layout")``."""
    known = list(choices)

    def parse_name(raw: Any) -> str:
        if text(raw) not in known:
            raise ValueError(f"unknown {what} {raw!r}{nearest(raw, known)}")
        return str(raw)

    return parse_name


def _shown(raw: Any) -> str:
    shown = json.dumps(raw)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."  # noqa: PLR2004 - a line's worth
