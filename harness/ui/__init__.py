"""The Metaflow UI: what it is deployed over and where it comes from, behind small interfaces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from harness.database import Database


class Ground(Protocol):
    """What a UI is deployed over: an existing database, and the data its runs left beside it."""

    description: str
    """What it is, for the first line printed."""
    database: Database
    network: str | None
    """The Docker network the database is in; None where it is reached from this machine."""
    environment: Mapping[str, str]
    """Metaflow's and AWS's variables that let a UI backend read logs, cards and artifacts."""
    folders: tuple[Path, ...]
    """Folders of local data; a container needs them at the very same paths."""

    def start(self) -> None:
        """Start what does not run already; return when the database answers.

        Raises:
            InfraError: when it cannot be had.
        """

    def stop(self) -> None:
        """Stop what ``start`` started; the data stays. Safe to call twice."""


class RunningUI(Protocol):
    """One UI backend with its page, over one ground."""

    version: str
    """As asked for by ``--ui-version``: a service release such as ``2.5.0``, or ``HEAD``."""
    page: str
    """Address of the page, no final slash."""
    api: str
    """Base address of the UI backend's API, no final slash."""
    origin: str
    """What exactly runs, for the first line printed and the journal."""
    log: Path

    def check_alive(self) -> None:
        """Raise InfraError, with the last log lines, when it has ended by itself."""

    def stop(self) -> None:
        """End it and all its workers. Safe to call twice."""


class UILauncher(Protocol):
    """One kind of origin of UIs: a clone's UI backend as processes, or images."""

    description: str

    def prepare(self, versions: tuple[str, ...]) -> None:
        """Do once what is needed before the first start: environments, assets, images.

        Raises:
            UsageError: for a version this origin cannot provide.
            InfraError: when preparing fails.
        """

    def start(self, version: str, ground: Ground, port: int, log: Path) -> RunningUI:
        """Start a UI over a started ground, and return when API and page answer.

        Raises:
            InfraError: when it never answers, with its last log lines.
        """
