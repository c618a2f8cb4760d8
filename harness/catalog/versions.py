"""Every client, service, Postgres and UI release, loaded from versions.json and validated.

What a user asks for (``minors``, ``2.2.1,>=2.19``) becomes releases in
``harness.catalog.selectors``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path

from packaging.version import Version

from harness.catalog import records
from harness.catalog.releases import (
    Catalog,
    Cause,
    Client,
    Layout,
    Postgres,
    Program,
    S3Image,
    S3Needs,
    Service,
    UiRelease,
)
from harness.machine.errors import UsageError
from harness.machine.tools import ROOT

FILE_SCHEMA = 1
"""The version of the file format that this module reads: field ``schema`` of the file."""

LAST_PORT = 65535
"""The highest TCP port there is."""


def load(path: Path = ROOT / "versions.json") -> Catalog:
    """Read and check the file.

    Raises:
        UsageError: for the first fault, with the file, the entry and the field.
    """
    file = path.name
    parts: dict[str, object] = records.record(file, records.read_json(path), _PARTS, dict)
    layouts = _layouts(file, parts["layouts"])
    ui = _ui(file, parts["ui"])
    clients = _clients(file, parts["clients"], _causes(file, parts["causes"]))
    catalog = partial(
        Catalog,
        clients=clients,
        services=(
            *_released(file, parts["services"], layouts, ui),
            *_reference(file, parts["reference"]),
        ),
        layouts=layouts,
        ui=ui,
        postgres=_postgres(file, parts["postgres"]),
        s3=_s3(file, parts["s3"], clients),
        s3_images=_s3_images(file, parts["s3_images"]),
    )
    return records.record(file, {name: parts[name] for name in _LISTS}, _LISTS, catalog)


_pins = records.several(records.requirement)
_python = records.one_of((f"3.{minor}" for minor in range(6, 30)), "Python")
_LISTS: records.Fields = {
    "service_requirements": _pins,
    "service_pythons": records.several(_python),
    "ui_requirements": _pins,
}
_PARTS: records.Fields = {
    "schema": records.schema(FILE_SCHEMA),
    **dict.fromkeys(
        (
            *("causes", "clients", "services", "reference", "layouts"),
            *(*_LISTS, "postgres", "ui", "s3", "s3_images"),
        ),
        lambda raw: raw,
    ),
}


def _causes(file: str, raw: object) -> dict[str, Cause]:
    fields: records.Fields = {
        "name": records.text,
        "why": records.text,
        "words": records.several(records.text),
    }
    causes = records.records(f"{file}: causes", raw, fields, "name", Cause)
    for index, cause in enumerate(causes):
        # Without words every failure would pass for one that is known.
        if not cause.words:
            where = f"{file}: causes[{index}] {cause.name!r}"
            raise UsageError(f"{where}: field 'words': nothing that a client prints")
    return {cause.name: cause for cause in causes}


def _clients(file: str, raw: object, causes: Mapping[str, Cause]) -> tuple[Client, ...]:
    cause = records.one_of(causes, "cause")
    fields: records.Fields = {
        "version": records.pep440,
        "released": records.day,
        "pins": _pins,
        "pythons": records.several(_minor),
        "fails": records.mapping(_minor, lambda raw: causes[cause(raw)]),
    }
    clients = records.records(f"{file}: clients", raw, fields, "version", _client)
    for index, client in enumerate(clients):
        where = f"{file}: clients[{index}] {client.name!r}"
        if not client.pythons:
            raise UsageError(f"{where}: field 'pythons': no Python runs it")
        both = [python for python in client.pythons if python in client.fails]
        if both:
            raise UsageError(f"{where}: field 'fails': {both[0]} is also among 'pythons'")
    _no_version_twice(f"{file}: clients", clients)
    return tuple(sorted(clients, key=lambda client: (client.released, client.version)))


def _client(
    version: str,
    released: date,
    pins: tuple[str, ...],
    pythons: tuple[str, ...],
    fails: Mapping[str, Cause],
) -> Client:
    return Client(version, released, pins, pythons, fails)


def _minor(raw: object) -> str:
    if not re.fullmatch(r"3\.\d+", records.text(raw)):
        raise ValueError(f"expected a minor version of Python like 3.11, not {raw!r}")
    return str(raw)


_SERVICE_FIELDS: records.Fields = {
    "name": records.text,
    "version": lambda raw: Version(records.pep440(raw)),
    "reported": records.optional(records.pep440),
    "schema": records.integer,
    "migrates": records.boolean,
}


def _released(
    file: str, raw: object, layouts: Mapping[str, Layout], ui: Sequence[UiRelease]
) -> list[Service]:
    layout_name = records.one_of(layouts, "layout")
    fields: records.Fields = {
        **_SERVICE_FIELDS,
        "released": records.day,
        "group": records.text,
        "image": records.text,
        "ref": records.text,
        "layout": lambda raw: layouts[layout_name(raw)],
        "ui": records.optional(records.one_of((release.name for release in ui), "UI release")),
    }
    where = f"{file}: services"
    released = partial(Service, kind="released")
    return _checked_services(where, records.records(where, raw, fields, "name", released))


def _reference(file: str, raw: object) -> list[Service]:
    where = f"{file}: reference"
    return _checked_services(where, records.records(where, raw, _SERVICE_FIELDS, "name", _level))


def _level(
    name: str, version: Version, reported: str | None, schema: int, *, migrates: bool
) -> Service:
    kind = "reference"
    return Service(name, kind, version, reported, name, schema, migrates, None, None, None)


def _checked_services(where: str, services: Sequence[Service]) -> list[Service]:
    """Return the services in version order, after the checks that concern several of them."""
    _no_version_twice(where, services)
    index = {service.name: f"{where}[{at}] {service.name!r}" for at, service in enumerate(services)}
    ordered = sorted(services, key=lambda service: service.version)
    groups: dict[str, Service] = {}
    before = ordered[0]
    for service in ordered:
        here = index[service.name]
        first = groups.setdefault(service.group, service)
        if first.schema != service.schema:
            raise UsageError(
                f"{here}: field 'group': {service.group!r} holds schema {service.schema} here "
                f"and {first.schema} in {first.name!r}, so it is not the same code"
            )
        if service.schema < before.schema:
            raise UsageError(
                f"{here}: field 'schema': {service.schema} goes back behind {before.schema} "
                f"of the earlier {before.name!r}"
            )
        if service.migrates != bool(service.schema):
            raise UsageError(
                f"{here}: field 'migrates': must be {str(bool(service.schema)).lower()} "
                f"with schema {service.schema}"
            )
        before = service
    return ordered


def _no_version_twice(where: str, entries: Sequence[Client | Service]) -> None:
    seen: dict[Version, int] = {}
    for index, entry in enumerate(entries):
        first = seen.setdefault(entry.version, index)
        if first != index:
            raise UsageError(
                f"{where}[{index}] {entry.name!r}: field 'version': the same release as "
                f"{where}[{first}] {entries[first].name!r}"
            )


def _layouts(file: str, raw: object) -> dict[str, Layout]:
    where = f"{file}: layouts"
    if not isinstance(raw, dict) or not raw:
        raise UsageError(f"{where}: expected an object of layouts by name")
    fields: records.Fields = {
        "metadata": _program,
        "migration": records.optional(_program),
        "ui": records.optional(_program),
        "requirements": _pins,
    }
    return {
        name: records.record(f"{where} {name!r}", entry, fields, Layout)
        for name, entry in raw.items()
    }


def _program(raw: object) -> Program:
    if not isinstance(raw, dict) or raw.keys() != {"module", "folder"}:
        raise ValueError("expected an object with 'module' and 'folder'")
    return Program(records.text(raw["module"]), records.text(raw["folder"]))


def _ui(file: str, raw: object) -> tuple[UiRelease, ...]:
    fields: records.Fields = {"name": records.pep440, "released": records.day}
    found = records.records(f"{file}: ui", raw, fields, "name", UiRelease)
    return tuple(sorted(found, key=lambda release: Version(release.name)))


def _postgres(file: str, raw: object) -> Postgres:
    where = f"{file}: postgres"
    fields: records.Fields = {"tags": records.several(records.text), "default": records.text}
    postgres = records.record(where, raw, fields, Postgres)
    if postgres.default not in postgres.tags:
        raise UsageError(f"{where}: field 'default': {postgres.default!r} is not among 'tags'")
    return postgres


def _s3(file: str, raw: object, clients: Iterable[Client]) -> tuple[S3Needs, ...]:
    where = f"{file}: s3"
    fields: records.Fields = {
        "clients": records.specifier,
        "env": records.mapping(records.text, records.text),
        "pins": _pins,
        "python": records.specifier,
    }
    needs = records.records(where, raw, fields, "clients", S3Needs)
    for client in clients:
        fitting = [one.clients for one in needs if client.satisfies(one.clients)]
        if len(fitting) != 1:
            raise UsageError(
                f"{where}: field 'clients': {client.name} must fit one entry, "
                f"and fits {', '.join(fitting) or 'none'}"
            )
    return needs


def _s3_images(file: str, raw: object) -> tuple[S3Image, ...]:
    fields: records.Fields = {
        "image": _image_name,
        "port": _port,
        "ready": _path,
        "command": records.several(records.text),
        "env": records.mapping(records.text, _template),
    }
    return records.records(f"{file}: s3_images", raw, fields, "image", S3Image)


def _image_name(raw: object) -> str:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", records.text(raw)):
        raise ValueError(f"expected an image without a tag, not {raw!r}")
    return str(raw)


def _port(raw: object) -> int:
    port = records.integer(raw)
    if not 1 <= port <= LAST_PORT:
        raise ValueError(f"{raw} is not a port (1 to {LAST_PORT})")
    return port


def _path(raw: object) -> str:
    if not records.text(raw).startswith("/"):
        raise ValueError(f"expected a path that begins with /, not {raw!r}")
    return str(raw)


def _template(raw: object) -> str:
    try:
        records.text(raw).format(access_key="", secret_key="")
    except (KeyError, IndexError, ValueError):
        raise ValueError(
            f"{raw!r}: only {{access_key}} and {{secret_key}} may stand in braces"
        ) from None
    return str(raw)
