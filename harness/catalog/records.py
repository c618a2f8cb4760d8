"""Checked reading of JSON files: every fault is named by file, entry and field.

A field is described by a parser: a function that takes what JSON held and returns the typed value,
or raises ValueError with the end of a sentence that begins with the name of the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import TypeVar

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from harness.machine.errors import UsageError, nearest

T = TypeVar("T")
K = TypeVar("K")

Parser = Callable[[object], T]
Fields = Mapping[str, Parser[object]]
"""The name of each field of an entry, and its parser."""


def read_json(path: Path) -> object:
    """Return what a JSON file holds.

    Raises:
        UsageError: no such file, not UTF-8, not JSON (with line and column), a key given twice,
            nested too deeply.
    """
    try:
        # Unasked json takes the last of two equal keys and says nothing.
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
    except RecursionError as error:
        raise UsageError(f"{path.name}: it is nested too deeply") from error


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"field {key!r} is given twice in one entry")
        found[key] = value
    return found


def record(where: str, raw: object, fields: Fields, make: Callable[..., T]) -> T:
    """Return what ``make`` makes of the parsed fields of one entry, which has exactly these.

    Args:
        where: file and entry, which errors begin with: ``versions.json: clients[17] '2.2.1'``.
        raw: what JSON held.
        fields: name of each field and its parser.
        make: takes each field by its name.

    Raises:
        UsageError: no object; a field that is missing, unknown or of another kind.
    """
    return make(**_parsed(where, raw, fields))


def _parsed(where: str, raw: object, fields: Fields) -> dict[str, object]:
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


def records(
    where: str, raw: object, fields: Fields, key: str, make: Callable[..., T]
) -> tuple[T, ...]:
    """Return what ``make`` makes of the entries of a list, which differ in the field ``key``.

    Raises:
        UsageError: as ``record`` does; and for an empty list or an entry given twice.
    """
    if not isinstance(raw, list) or not raw:
        raise UsageError(f"{where}: expected a list of entries, not {_shown(raw)}")
    seen: dict[object, int] = {}
    made = []
    for index, entry in enumerate(raw):
        name = f" {entry[key]!r}" if isinstance(entry, dict) and key in entry else ""
        values = _parsed(f"{where}[{index}]{name}", entry, fields)
        first = seen.setdefault(values[key], index)
        if first != index:
            raise UsageError(f"{where}[{index}]{name}: field {key!r}: also in {where}[{first}]")
        made.append(make(**values))
    return tuple(made)


def schema(known: int) -> Parser[int]:
    """Return a parser of the version of a file's format, of which one is known."""

    def parse(raw: object) -> int:
        if integer(raw) != known:
            raise ValueError(f"this harness reads {known}, not {raw}")
        return known

    return parse


def text(raw: object) -> str:
    """Parse a text that is not empty."""
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError(f"expected a text, not {_shown(raw)}")
    return raw


def link(raw: object) -> str:
    """Parse the address of a page, or the place of one of this project."""
    address = text(raw)
    if not re.fullmatch(
        r"https?://[^\s/\x00-\x1f\x7f][^\s\x00-\x1f\x7f]*|docs/[\w-]+\.md(#[\w-]+)?", address
    ):
        pages = "http://…, https://… or docs/PAGE.md"
        raise ValueError(f"expected an address, {pages}, not {_shown(raw)}")
    return address


def integer(raw: object) -> int:
    """Parse a number of 0 or more."""
    # True and false are whole numbers to Python.
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
        raise ValueError(f"expected a whole number, not {_shown(raw)}")
    return raw


def boolean(raw: object) -> bool:
    """Parse true or false."""
    if not isinstance(raw, bool):
        raise ValueError(f"expected true or false, not {_shown(raw)}")  # noqa: TRY004 - Parser
    return raw


def day(raw: object) -> date:
    """Parse a date, ``2023-07-27``."""
    try:
        return date.fromisoformat(text(raw))
    except ValueError:
        raise ValueError(f"expected a date like 2023-07-27, not {_shown(raw)}") from None


def _accepted_by(check: Callable[[str], object], what: str) -> Parser[str]:
    """Return a parser of texts that ``check`` raises no ValueError for; they stay texts."""

    def parse(raw: object) -> str:
        found = text(raw)
        try:
            check(found)
        except ValueError:
            raise ValueError(f"{raw!r} is {what}") from None
        return found

    return parse


pep440 = _accepted_by(Version, "no PEP 440 version")
specifier = _accepted_by(SpecifierSet, "no PEP 440 range")
requirement = _accepted_by(Requirement, "no requirement that pip understands")


def optional(parse: Parser[T]) -> Parser[T | None]:
    """Return a parser that also takes null, as None."""
    return lambda raw: None if raw is None else parse(raw)


def several(parse: Parser[T]) -> Parser[tuple[T, ...]]:
    """Return a parser of lists, as tuples, whose values differ from each other."""

    def parse_all(raw: object) -> tuple[T, ...]:
        if not isinstance(raw, list):
            raise ValueError(f"expected a list, not {_shown(raw)}")  # noqa: TRY004 - Parser
        return _all_different(tuple(parse(value) for value in raw))

    return parse_all


def mapping(parse_key: Parser[K], parse_value: Parser[T]) -> Parser[dict[K, T]]:
    """Return a parser of objects with free keys."""

    def parse_all(raw: object) -> dict[K, T]:
        if not isinstance(raw, dict):
            raise ValueError(f"expected an object, not {_shown(raw)}")  # noqa: TRY004 - Parser
        return {parse_key(key): parse_value(value) for key, value in raw.items()}

    return parse_all


def _all_different(values: tuple[T, ...]) -> tuple[T, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is given twice")
    return values


def one_of(choices: Iterable[str], what: str) -> Parser[str]:
    """Return a parser of names that exist: ``one_of(layouts, "layout")``."""
    known = list(choices)

    def parse_name(raw: object) -> str:
        name = text(raw)
        if name not in known:
            raise ValueError(f"unknown {what} {raw!r}{nearest(name, known)}")
        return name

    return parse_name


def _shown(raw: object) -> str:
    shown = json.dumps(raw)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."  # noqa: PLR2004 - a line's worth
