"""The Metaflow UI: what it is deployed over and where it comes from, behind small interfaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from harness.catalog.releases import Service
from harness.stack.database.server import Database


class DataSource(Protocol):
    """What a UI is deployed over: an existing database, and the data its runs left beside it."""

    description: str
    """What it is, for the first line printed."""
    network: str | None
    """The Docker network the database is in; None where it is reached from this machine."""
    environment: Mapping[str, str]
    """Metaflow's and AWS's variables that let a UI backend read logs, cards and artifacts."""
    folders: tuple[Path, ...]
    """Folders of local data; a container needs them at the very same paths."""
    linked: bool
    """Whether what a UI takes from the folders is brought back (see data_links.py)."""

    def start(self) -> Database:
        """Start what does not run already; return the database when it answers.

        Raises:
            UsageError: when somebody else's database cannot be reached.
            InfraError: when a kept one cannot be served again.
        """

    def stop(self) -> None:
        """Stop what ``start`` started; the data stays. Safe to call twice."""


class RunningUI(Protocol):
    """One UI backend with its page, over one source."""

    version: str
    """The service release it comes with, such as ``v2.5.0``, or a git ref."""
    page: str
    """Address of the page, no final slash."""
    api: str
    """Base address of the UI backend's API, no final slash."""
    origin: str
    """What exactly runs, for the line printed and the journal."""
    log: Path

    @property
    def where_log(self) -> str:
        """Words on where its log is once this process has ended."""

    def check_alive(self) -> None:
        """Raise InfraError, with the last log lines, when it has ended by itself."""

    def wait(self) -> None:
        """Return when it has ended, by whatever hand."""

    def stop(self) -> None:
        """End it and all its workers. Safe to call twice."""


class UILauncher(Protocol):
    """One kind of origin of UIs: a clone's UI backend as processes, or images."""

    description: str

    def prepare(self, versions: Sequence[Service]) -> None:
        """Do once what is needed before the first start: environments, assets, images.

        Raises:
            UsageError: for a version this origin cannot provide.
            InfraError: when preparing fails.
        """

    def notes(self, version: Service) -> list[str]:
        """Return sentences on what is worth knowing of a UI, and is no failure."""

    def start(
        self, version: Service, source: DataSource, database: Database, port: int, log: Path
    ) -> RunningUI:
        """Start a UI over a started source and return at once; readiness is the caller's.

        Args:
            version: a service that has a UI backend.
            source: for the data beside the database.
            database: as ``source.start()`` returned it.
            port: of the page, on 127.0.0.1.
            log: appended to with what it prints.

        Raises:
            InfraError: when it cannot be started.
        """
