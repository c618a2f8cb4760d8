"""Every client, service, Postgres and UI release, loaded from versions.json and validated.

What a user asks for (``minors``, ``2.2.1,>=2.19``) becomes releases in
``harness.catalog.selectors``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from harness.catalog import records
from harness.machine.errors import UsageError
from harness.machine.tools import ROOT

FILE_SCHEMA = 1
"""The version of the file format that this module reads: field ``schema`` of the file."""

LAST_PORT = 65535
"""The highest TCP port there is."""


@dataclass(frozen=True)
class Client:
    """A Metaflow release on PyPI.

    Attributes:
        name: the version as PyPI names it; what follows ``metaflow==``.
        pins: extra requirements without which the release does not import.
        pythons: the minor versions of Python that run it, ``"3.11"``, oldest first.
        fails: why the other Pythons do not.
    """

    name: str
    released: date
    pins: tuple[str, ...]
    pythons: tuple[str, ...]
    fails: Mapping[str, str] = field(hash=False)

    @property
    def version(self) -> Version:
        """The release as a comparable version."""
        return Version(self.name)

    def satisfies(self, range_text: str) -> bool:
        """Tell whether the release lies in a PEP 440 range.

        Raises:
            UsageError: when ``range_text`` is no range.
        """
        return _in_range(self.version, range_text)


@dataclass(frozen=True)
class Program:
    """One process of a release: ``python -m MODULE``, run in FOLDER of its source tree."""

    module: str
    folder: str


@dataclass(frozen=True)
class Layout:
    """What running a release from its source needs.

    Attributes:
        metadata: the metadata service.
        migration: the migration service; None for releases that have none.
        ui: the UI backend; None for releases that have none.
        requirements: PEP 508 requirements beyond the ones all releases share.
    """

    metadata: Program
    migration: Program | None
    ui: Program | None
    requirements: tuple[str, ...]


@dataclass(frozen=True)
class Service:
    """A metadata service: a released one, a checkout at a ref, or a reference level.

    Attributes:
        name: what users select and reports show: ``v2.4.3``, ``reference-2.5``, ``HEAD``.
        kind: ``released``, ``reference`` or ``checkout``; a reference level is never
            reported as a released service.
        version: the release's own version, for ranges and for the order of a walk.
        reported: the version it tells clients (header of /ping), which they gate features on;
            None where it reports none.
        group: services of one group run the same code.
        schema: the newest migration the service brings (goose version); 0 for none.
        migrates: whether an operator must migrate an empty database for it.
        image: container image with tag; None for reference levels.
        ref: git ref in the upstream repository; of a checkout its commit, or ``HEAD``; None for
            reference levels.
        released: date of release; None for what is not released.
        layout: how to run it from source; None for reference levels.
        ui: the UI release its image brings; None where it brings none.
        label: what a ref of a checkout stood for when it was selected: ``branch master at
            91e44f0, with uncommitted changes``; empty for what always is the same.
    """

    name: str
    kind: str
    version: Version
    reported: str | None
    group: str
    schema: int
    migrates: bool
    image: str | None
    ref: str | None
    released: date | None
    layout: Layout | None = None
    ui: str | None = None
    label: str = ""

    @property
    def slug(self) -> str:
        """The name as a part of ids and of file names; a branch's may hold slashes."""
        return self.name.replace("/", "-")

    def satisfies(self, range_text: str) -> bool:
        """Tell whether the service lies in a PEP 440 range, judged as clients judge it.

        That is by the version it reports, and by its own where it reports none.

        Raises:
            UsageError: when ``range_text`` is no range.
        """
        return _in_range(Version(self.reported) if self.reported else self.version, range_text)

    def is_release(self, range_text: str) -> bool:
        """Tell whether the service's own version lies in a range, whatever it reports.

        Raises:
            UsageError: when ``range_text`` is no range.
        """
        return _in_range(self.version, range_text)


@dataclass(frozen=True)
class UiRelease:
    """A release of the Metaflow UI, whose built assets are published with it."""

    name: str
    released: date


@dataclass(frozen=True)
class Postgres:
    """The tags of the image ``postgres`` that are offered, and the one taken unasked."""

    tags: tuple[str, ...]
    default: str


@dataclass(frozen=True)
class S3Needs:
    """What some clients need to use an S3 server that is not Amazon's.

    Attributes:
        clients: the range of clients it is about.
        env: variables to set; ``{endpoint}`` in a value stands for the server's address.
        pins: extra requirements for the client's environment.
        python: the range of Pythons that have releases which satisfy the pins.
    """

    clients: str
    env: Mapping[str, str] = field(hash=False)
    pins: tuple[str, ...]
    python: str


@dataclass(frozen=True)
class S3Image:
    """How to run an image of an S3-compatible server.

    Attributes:
        image: its name without registry and tag, ``minio/minio``.
        port: where the server listens in its container.
        ready: path that is answered well when the server can be used.
        command: arguments instead of the image's own; empty for its own.
        env: variables to set; ``{access_key}`` and ``{secret_key}`` in a value stand for what
            clients will use.
    """

    image: str
    port: int
    ready: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True)
class Catalog:
    """All that versions.json holds.

    Attributes:
        clients: in release order.
        services: the released ones, then the reference levels; each in version order.
        layouts: by name, oldest first.
        service_requirements: what every release run from source needs.
        service_pythons: the minor versions of Python that run every release, preferred first.
        ui_requirements: what every UI backend run from source needs on top.
        ui: in version order.
        s3: exactly one entry fits each client.
        s3_images: the images of S3 servers that are known.
    """

    clients: tuple[Client, ...]
    services: tuple[Service, ...]
    layouts: Mapping[str, Layout]
    service_requirements: tuple[str, ...]
    service_pythons: tuple[str, ...]
    ui_requirements: tuple[str, ...]
    postgres: Postgres
    ui: tuple[UiRelease, ...]
    s3: tuple[S3Needs, ...]
    s3_images: tuple[S3Image, ...]

    @property
    def released(self) -> tuple[Service, ...]:
        """The released services, in version order."""
        return self.of_kind("released")

    @property
    def reference(self) -> tuple[Service, ...]:
        """The levels of the bundled reference service, in version order."""
        return self.of_kind("reference")

    def of_kind(self, kind: str) -> tuple[Service, ...]:
        """Return the services of one kind, in version order."""
        return tuple(service for service in self.services if service.kind == kind)

    def s3_needs(self, client: Client) -> S3Needs:
        """Return what ``client`` needs to use an S3 server that is not Amazon's."""
        return next(needs for needs in self.s3 if client.satisfies(needs.clients))

    def s3_image(self, name: str) -> S3Image | None:
        """Return how to run an image; None for one that is not known.

        Args:
            name: its whole name, with any registry, tag and digest.
        """
        repository = re.sub(r"(:[^/:@]+)?(@.*)?$", "", name)
        fitting = (one for one in self.s3_images if f"/{repository}".endswith(f"/{one.image}"))
        return next(fitting, None)


def load(path: Path = ROOT / "versions.json") -> Catalog:
    """Read and check the file.

    Raises:
        UsageError: for the first fault, with the file, the entry and the field.
    """
    file = path.name
    parts: dict[str, object] = records.record(file, records.read_json(path), _PARTS, dict)
    layouts = _layouts(file, parts["layouts"])
    ui = _ui(file, parts["ui"])
    clients = _clients(file, parts["clients"])
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
            *("clients", "services", "reference", "layouts"),
            *(*_LISTS, "postgres", "ui", "s3", "s3_images"),
        ),
        lambda raw: raw,
    ),
}


def _clients(file: str, raw: object) -> tuple[Client, ...]:
    fields: records.Fields = {
        "version": records.pep440,
        "released": records.day,
        "pins": _pins,
        "pythons": records.several(_minor),
        "fails": records.mapping(_minor, records.text),
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
    fails: Mapping[str, str],
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


def _in_range(version: Version, range_text: str) -> bool:
    try:
        return SpecifierSet(range_text).contains(version, prereleases=True)
    except InvalidSpecifier:
        raise UsageError(f"{range_text!r} is no range of versions, such as '>=2.3,<2.5'") from None
