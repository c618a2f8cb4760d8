"""Metadata services: where they come from, behind one small interface.

Nothing above this package knows whether a service is the reference service, a process from a
checkout, a container or an external address.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from harness.catalog.releases import Service
from harness.stack.database.server import Database


class ServiceError(Exception):
    """The service under test failed by itself: the product's failure, not ours."""


class RunningService(Protocol):
    """One service over one database, answering or about to."""

    service: Service
    url: str
    """Base address of the metadata API, as clients on this machine reach it, no final slash."""
    migration_url: str | None
    """Base address of the migration API; None where the release has none (1.0.x)."""
    log: Path
    """The file the service's output goes to, appended to on restart."""
    origin: str
    """What exactly runs, as in ``image NAME:TAG sha256:…``; empty where the name says it all."""
    code: str
    """Digest, image id or commit of the code that runs, and of what it runs on."""
    picks_release: bool
    """Whether it decides by the schema which release it starts, as an image's start script does.

    Such a script migrates an empty database by itself before it starts the metadata API; to ask
    for an upgrade meanwhile would be a second migration at the same time.
    """

    def restart(self) -> None:
        """Stop and start again on the same database, as an operator would.

        The addresses may be other ones afterwards.
        """

    def check_alive(self) -> None:
        """Raise EndedError, with the last log lines, when the service does not run any more."""

    def stop(self) -> None:
        """Stop the service and everything it started. Safe to call twice."""


StartUnmigrated = Callable[[Service, Database, Path], RunningService]
"""Takes what ``Launcher.start`` takes."""


class Launcher(Protocol):
    """One kind of origin of services."""

    description: str
    """What kind it is, for the first line printed: ``reference service, as processes``."""

    @property
    def start_unmigrated(self) -> StartUnmigrated | None:
        """Starts the metadata API alone, as who forgets the migration does; None: it cannot."""

    def prepare(self, services: tuple[Service, ...]) -> None:
        """Do once what all of them need (environments, images) before the first start.

        Raises:
            UsageError: for a service this origin cannot provide.
            InfraError: when preparing fails, with the tool's own last lines.
        """

    def code(self, service: Service) -> str:
        """Return the ``code`` of a service that would be started; what that takes is made.

        Raises:
            UsageError: for a service this origin cannot provide.
            InfraError: when it cannot be had.
        """

    def start(
        self, service: Service, database: Database, log: Path, scenario: str = ""
    ) -> RunningService:
        """Start ``service`` over ``database`` and return at once; readiness is the caller's.

        The service is not migrated: its migration endpoints answer when it is ready.

        Args:
            service: which.
            database: of its own.
            log: file for what it prints.
            scenario: what is done wrong on purpose, or otherwise; empty for nothing.
        """
