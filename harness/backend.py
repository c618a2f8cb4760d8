"""A backend: one origin of databases and one of services that go together."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from harness.database import Database, DatabaseServer
from harness.database.embedded import EmbeddedPostgres
from harness.database.external import ExternalPostgres
from harness.errors import UsageError
from harness.options import Options
from harness.service import Launcher
from harness.service.checkout import CheckoutLauncher
from harness.service.reference import ReferenceLauncher
from harness.versions import load


@dataclass(frozen=True)
class Backend:
    """What stacks are made of.

    Attributes:
        why: the sentence on which backend this is and why it was taken; printed first.
        existing: the database of ``--database-url``; None when each is made by the run.
        secrets: strings that must never be recorded.
    """

    name: str
    why: str
    database: DatabaseServer
    launcher: Launcher
    existing: Database | None
    secrets: tuple[str, ...]


def choose_backend(options: Options, folder: Path, mark: str) -> Backend:
    """Return the backend the options ask for; nothing is started.

    Args:
        options: of the run.
        folder: where the parts may keep their files.
        mark: what their processes are marked with.

    Raises:
        UsageError: for a backend that cannot be had.
    """
    if options.backend == "docker":
        raise UsageError("--backend docker: containers are not built yet; use --backend embedded")
    launcher = _launcher(options, mark)
    hidden = (options.clone.secret,) if options.clone else ()
    asked = "asked for" if options.backend == "embedded" else "the default"
    if options.database_url is not None:
        external = ExternalPostgres(options.database_url)
        existing = external.existing()
        why = f"backend: {external.description}, and the {launcher.description}"
        password = existing.address.password
        return Backend("external", why, external, launcher, existing, (password, *hidden))
    password = options.database_password or secrets.token_urlsafe(16)
    database = EmbeddedPostgres(
        folder / "postgres",
        mark,
        binaries=options.postgres,
        port=options.database_port,
        user=options.database_user,
        password=password,
    )
    why = f"backend: embedded ({asked}): PostgreSQL and the {launcher.description}"
    return Backend("embedded", why, database, launcher, None, (password, *hidden))


def _launcher(options: Options, mark: str) -> Launcher:
    if options.clone is None:
        return ReferenceLauncher(mark)
    catalog = load()
    return CheckoutLauncher(
        options.clone,
        catalog.service_requirements,
        catalog.service_pythons,
        mark,
        options.scenario,
    )
