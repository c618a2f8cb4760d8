"""The key by which a result may be taken for another: a digest of all that decided it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from harness.core.axes import Point
from harness.core.entries import SCHEMA, PlannedCell, Provenance


def with_key(provenance: Provenance, cell: PlannedCell) -> Provenance:
    """Return a cell's provenance with the key made of it, of the cell's point and of its probe."""
    point = {name: getattr(cell, name) for name in Point.__struct_fields__}
    decided = {
        "format": SCHEMA,
        "cell": [cell.session, cell.stage, cell.probe, cell.probe_digest],
        "point": point,
        # Without the key itself: making it again must give the same.
        "provenance": msgspec.structs.asdict(provenance) | {"key": ""},
    }
    return msgspec.structs.replace(provenance, key=digest(decided))


def digest(value: object) -> str:
    """Return a short digest of a value of JSON: 16 hexadecimal digits."""
    # Equal values must give equal bytes, in whatever order they were put together.
    text = msgspec.json.encode(value, order="deterministic")
    return hashlib.sha256(text).hexdigest()[:16]


_LONGEST_NAME = 100


def short(name: str) -> str:
    """Return the name of a folder, cut where it is long and with a digest of the whole then.

    A name may hold a path that was given. Services keep no location of an artifact over 255
    characters, and what one refuses is missing later: our folders must leave room for the rest.
    """
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 17]}-{digest(name)}"


def digest_of_files(paths: Iterable[Path]) -> str:
    """Return a short digest of the contents of some files, in order: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        # Lengths keep files apart: what moves from the end of one to the next is a change.
        found.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()[:16]
