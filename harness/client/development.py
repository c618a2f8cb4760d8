"""Clients under development: any ref of a clone of Metaflow, its work tree, or a wheel."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from harness.catalog.releases import Catalog, Client
from harness.machine.errors import UsageError, nearest
from harness.stack.service.git import HEAD, Clone, Source, WorkTree, lay_out, open_clone, short

OPTION = "--metaflow-checkout"
_PACKAGE = "metaflow/__init__.py"
# As the releases say it: since 2.5 in a file of its own, before in setup.py. Read, not run.
_SAYS = {
    "metaflow/version.py": re.compile(
        r"""^metaflow_version\s*=\s*["']([^"']+)["']""", re.MULTILINE
    ),
    "setup.py": re.compile(r"""^version\s*=\s*["']([^"']+)["']""", re.MULTILINE),
}


@dataclass(frozen=True)
class Wheel:
    """A wheel of Metaflow.

    Attributes:
        given: what the user named it by.
        path: where it is.
        version: by its name.
    """

    given: str
    path: Path
    version: Version


def open_metaflow(given: str) -> Clone | Wheel:
    """Return the clone, or the wheel, that clients are taken from.

    Raises:
        UsageError: as ``open_clone`` does; for a wheel that is not there, or not Metaflow's.
    """
    if not given.endswith(".whl"):
        return open_clone(given, OPTION)
    path = Path(given).expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"{OPTION} {given}: there is no such file")
    try:
        name, version, *_ = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise UsageError(f"{OPTION} {given}: {error}") from error
    if name != "metaflow":
        raise UsageError(f"{OPTION} {given}: a wheel of {name}, not of metaflow")
    return Wheel(given, path, version)


def find_clients(
    clients: Iterable[Client], place: Clone | Wheel | None, catalog: Catalog
) -> tuple[Client, ...]:
    """Return clients, with what those are that are refs of a checkout.

    Args:
        clients: as selected.
        place: what ``--metaflow-checkout`` names; None without it.
        catalog: the known releases.

    Raises:
        UsageError: for an unknown ref; for one that holds no Metaflow.
    """
    return tuple(
        _find(client, place, catalog) if place is not None and client.says else client
        for client in clients
    )


def _find(client: Client, place: Clone | Wheel, catalog: Catalog) -> Client:
    if isinstance(place, Wheel):
        return _of_wheel(client, place, catalog)
    source = place.at(client.name)
    if source is None and client.name == HEAD:
        said = "HEAD is no commit yet: the repository is empty"
        raise UsageError(f"{OPTION} {place.given}: {said}")
    if source is None:
        known = (HEAD, *place.branches, *place.tags, *(one.name for one in catalog.clients))
        close = nearest(client.name, known)
        raise UsageError(
            f"{OPTION} {place.given}: unknown release or git ref {client.name!r}{close}"
        )
    # By PEP 440 a local part sorts after the version it is put on.
    says = label = f"{_said(client, place, source).public}+g{short(source.commit)}"
    folder = source.lay_out()
    if isinstance(source, WorkTree):
        # The folder is named by what the files hold: another change is another label.
        label = f"{says}, changed ({folder.name.rpartition('-')[2]})"
        says += ".changed"
    return _grown(client, says, label, folder, catalog)


def _of_wheel(client: Client, wheel: Wheel, catalog: Catalog) -> Client:
    if client.name != HEAD:
        raise UsageError(f"{OPTION} {wheel.given}: a wheel has no {client.name!r}, just {HEAD}")
    # By content, not by name: a wheel that is built again has the same name.
    digest = hashlib.sha256(wheel.path.read_bytes()).hexdigest()[:12]

    def fill(folder: Path) -> None:
        shutil.copy2(wheel.path, folder / wheel.path.name)

    file = lay_out(f"wheel-{digest}", fill) / wheel.path.name
    says = f"{wheel.version.public}+wheel.{digest}"
    return _grown(client, says, says, file, catalog)


def _said(client: Client, clone: Clone, source: Source) -> Version:
    where = f"{OPTION} {clone.given}: {client.name} ({short(source.commit)})"
    if _PACKAGE not in source.files:
        raise UsageError(f"{where} holds no Metaflow: there is no {_PACKAGE}")
    for file, pattern in _SAYS.items():
        match = pattern.search(source.read(file) or "")
        if match:
            try:
                return Version(match[1])
            except InvalidVersion as error:
                raise UsageError(f"{where} says in {file} that it is {match[1]!r}") from error
    raise UsageError(f"{where} says in none of {', '.join(_SAYS)} which version it is")


def _grown(client: Client, says: str, label: str, path: Path, catalog: Catalog) -> Client:
    """Return the client with what it is, and with what is known of the release it grew from."""
    release = Version(says).release
    older = [one for one in catalog.clients if one.version.release <= release]
    base = max(older or catalog.clients[:1], key=lambda one: one.version)
    return replace(
        client,
        released=base.released,
        pins=base.pins,
        pythons=base.pythons,
        fails=base.fails,
        says=says,
        url=path.as_uri(),
        label=label,
    )
