"""Clients, services, UIs and images as typed records: what versions.json holds.

``harness.catalog.versions`` loads them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from harness.machine.dependencies import PINNED, Dependencies
from harness.machine.errors import UsageError


@dataclass(frozen=True)
class Cause:
    """What keeps releases from running on a Python.

    Attributes:
        name: of the cause.
        why: it, as the end of a sentence.
        words: what such a release prints then, which may hide the cause: one of these at least.
    """

    name: str
    why: str
    words: tuple[str, ...]

    def is_in(self, text: str) -> bool:
        """Tell whether a text says so."""
        return any(word in text for word in self.words)


@dataclass(frozen=True)
class Client:
    """A Metaflow release on PyPI, or one under development.

    Attributes:
        name: the version as PyPI names it, what follows ``metaflow==``; of a checkout the ref.
        pins: extra requirements without which the release does not import.
        pythons: the minor versions of Python that run it, ``"3.11"``, oldest first.
        fails: what keeps it from running on others.
        says: of a checkout the version it takes itself for; empty for a release.
        url: of a checkout where its files lie; empty as long as nobody has looked for them.
        label: of a checkout what its ref stood for when it was selected:
            ``2.19.38+gd2dd7f9, changed (1a2b3c4d5e6f)``.
    """

    name: str
    released: date
    pins: tuple[str, ...]
    pythons: tuple[str, ...]
    fails: Mapping[str, Cause] = field(hash=False)
    says: str = ""
    url: str = ""
    label: str = ""

    @property
    def version(self) -> Version:
        """The release as a comparable version."""
        return Version(self.says or self.name)

    @property
    def requirement(self) -> str:
        """What is installed of it, as PEP 508 has it."""
        return f"metaflow @ {self.url}" if self.url else f"metaflow=={self.name}"

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
    """A metadata service: released, a checkout at a ref, a reference level, or somebody else's.

    Attributes:
        name: what users select and reports show: ``v2.4.3``, ``reference-2.5``, ``HEAD``.
        kind: ``released``, ``reference``, ``checkout`` or ``external``; a reference level is never
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
        deps: which versions of what it requires it has, where it is run from source.
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
    deps: Dependencies = PINNED

    @property
    def slug(self) -> str:
        """The name as a part of ids and of file names; a branch's may hold slashes."""
        return self.name.replace("/", "-")

    @property
    def known(self) -> tuple[str | None, str, int]:
        """What is known of it before it runs, and decides what it is asked and what is noted."""
        return self.reported, self.version.public, self.schema

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


def _in_range(version: Version, range_text: str) -> bool:
    try:
        return SpecifierSet(range_text).contains(version, prereleases=True)
    except InvalidSpecifier:
        raise UsageError(f"{range_text!r} is no range of versions, such as '>=2.3,<2.5'") from None
