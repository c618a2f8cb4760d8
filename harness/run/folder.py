"""A run's identity, and the folder of its results."""

from __future__ import annotations

import os
import secrets
from datetime import datetime, timezone
from pathlib import Path

from harness.machine.errors import InfraError, UsageError
from harness.machine.guard import Guard
from harness.stack.backend import DATABASE_FOLDERS, DATABASES
from harness.stack.database.cluster import unprivileged_user

LATEST = "latest"


class RunFolder:
    """The results folder of one run, named by its id.

    Args:
        results: the folder for the results of runs.
        session: what the run is one of; it is part of the id.
        resumed: the folder of the run that goes on; None for a new one.
    """

    def __init__(self, results: Path, session: str, resumed: Path | None = None) -> None:
        moment = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
        self.results = results
        # By the moment names sort; the rest is there because two runs may begin in one second.
        new = f"{moment}-{session}-{secrets.token_hex(2)}"
        self.run = resumed.name if resumed else new
        self.path = results / self.run
        self.logs = self.path / "logs"
        self.work = self.path / "work"
        self.saved = self.path / "saved"
        """What a walk that is cut short goes on with; nothing of other sessions."""

    @property
    def service_logs(self) -> Path:
        """Where services log to."""
        return self.logs / "services"

    def logs_of(self, name: str) -> Path:
        """Return where the evidence of a cell, or of another reading, is kept."""
        return self.logs / "cells" / name

    def make(self) -> None:
        """Make the folder.

        Raises:
            UsageError: when it cannot be made.
        """
        try:
            make_private(self.path)
        except OSError as error:
            raise _unwritable(self.results, error) from error

    def guard(self) -> Guard:
        """Return who removes what clients stored if this process is killed; databases stay."""
        return Guard(self.run, self.work, spared_mark=DATABASES, spared_files=DATABASE_FOLDERS)

    def make_latest(self) -> None:
        """Let ``latest`` name the run from now on.

        Raises:
            UsageError: when it cannot be written.
        """
        make_latest(self.path)


def make_private(folder: Path) -> None:
    """Make a folder of results, which nobody but the user may look into."""
    folder.mkdir(parents=True, mode=0o700)
    try:
        postgres = unprivileged_user()
    except InfraError:  # told where a database is started
        return
    if postgres is not None:
        # Root's databases are in it, and run as somebody else: who goes through, and sees no names.
        os.chown(folder, -1, postgres)
        folder.chmod(0o710)


def make_latest(run: Path) -> None:
    """Let ``latest``, beside the results folder of a run, name it from now on.

    Raises:
        UsageError: when it cannot be written.
    """
    try:
        # A new link takes the old one's place in one step: there is a ``latest`` at any moment.
        newest = run.with_name(f".{LATEST}-{run.name}")
        newest.symlink_to(run.name)
        newest.replace(run.with_name(LATEST))
    except OSError as error:
        raise _unwritable(run.parent, error) from error


def check_results(results: Path) -> None:
    """Raise UsageError when no folder of a run can be made in ``results``; nothing is made."""
    # Not Path.exists(), which raises for what lies in a folder that may not be entered.
    there = next(path for path in (results, *results.parents) if os.access(path, os.F_OK))
    if not there.is_dir():
        raise UsageError(f"--results {results}: cannot be written: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"--results {results}: cannot be written: no right to write in {there}")


def _unwritable(results: Path, error: OSError) -> UsageError:
    return UsageError(f"--results {results}: cannot be written: {error.strerror}")
