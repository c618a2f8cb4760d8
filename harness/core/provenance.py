"""The key by which a result may be taken for another: a digest of all that decided it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from harness.core.axes import Point
from harness.core.entries import SCHEMA, PlannedCell, Provenance
from harness.machine.installed import versions_in, whole_version

_OF_CLIENTS = ("client", "client_build", "python", "packages", "deps", "deps_build", "datastore")
"""The axes that a service by itself has no part in."""


def with_key(provenance: Provenance, cell: PlannedCell) -> Provenance:
    """Return a cell's provenance with the key made of it, of the cell's point and of its probe."""
    asked = [cell.session, cell.stage, cell.probe, cell.probe_digest]
    return _with_key(provenance, asked, cell, Point.__struct_fields__)


def with_key_of_service(provenance: Provenance, service: str, point: Point) -> Provenance:
    """Return the provenance of a service by itself with its key.

    Args:
        provenance: what decided how it answers.
        service: its name.
        point: of any of its cells; what is of their clients is left out.
    """
    axes = [name for name in Point.__struct_fields__ if name not in _OF_CLIENTS]
    point = msgspec.structs.replace(point, writer="", resumer="")
    return _with_key(provenance, ["service", service], point, axes)


def _with_key(
    provenance: Provenance, asked: Sequence[object], point: Point, axes: Sequence[str]
) -> Provenance:
    if not provenance.settings:
        return msgspec.structs.replace(provenance, key="")
    decided = {
        "format": SCHEMA,
        "cell": asked,
        "point": {name: getattr(point, name) for name in axes},
        # Without the key itself: making it again must give the same.
        "provenance": msgspec.structs.asdict(provenance) | {"key": ""},
    }
    return msgspec.structs.replace(provenance, key=digest(decided))


def digest(value: object) -> str:
    """Return a short digest of a value of JSON: 16 hexadecimal digits."""
    # Equal values must give equal bytes, in whatever order they were put together.
    text = msgspec.json.encode(value, order="deterministic")
    return hashlib.sha256(text).hexdigest()[:16]


def digest_of_environment(interpreter: Path) -> str:
    """Return a short digest of what an environment really is: its Python, what is installed.

    What it was asked to be decides nothing: an index has something newer another day.

    Args:
        interpreter: its Python.

    Raises:
        InfraError: when that does not run.
    """
    return digest([whole_version(interpreter), versions_in(interpreter)])


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
