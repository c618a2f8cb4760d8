"""Every client, service, Postgres and UI release, loaded from versions.json and validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from packaging.version import Version


@dataclass(frozen=True)
class Client:
    """A Metaflow release on PyPI.

    Attributes:
        name: the version as PyPI names it; what follows ``metaflow==``.
        pins: extra requirements without which the release does not import.
        pythons: the minor versions of Python that run it, ``"3.11"``, in order of preference.
        fails: why the other Pythons do not.
    """

    name: str
    released: date
    pins: tuple[str, ...]
    pythons: tuple[str, ...]
    fails: Mapping[str, str]

    @property
    def version(self) -> Version:
        """The release as a comparable version."""
        return Version(self.name)


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
        ref: git ref in the upstream repository; None for reference levels.
        released: date of release; None for what is not released.
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
