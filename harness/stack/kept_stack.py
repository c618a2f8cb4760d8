"""What ``--keep`` left of a run's stack, written down for the sessions that come later.

A record is a file named after the run under .nox/runs/, beside the locks of the runs that live. It
holds the database's password, so only its owner may read it, and it is not among the results.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.machine import locks
from harness.machine.errors import UsageError, nearest
from harness.stack.database.server import Address, Tls

EMBEDDED = "embedded"
"""The backend whose database is kept as files, and served again."""

_SUFFIX = ".kept"


@dataclass(frozen=True)
class Kept:
    """The last stack of an ended run.

    Attributes:
        run: the run's id.
        folder: of its results; the data its clients wrote is below.
        backend: ``embedded`` or ``docker``.
        service: name of the service that used the database last.
        database: the database; of containers, as it was reached when the run ended.
        place: what the backend needs to find its part again: the folders of a cluster, say.
        stores: per datastore what it needs to be served again; empty for plain folders.
    """

    run: str
    folder: Path
    backend: str
    service: str
    database: Address
    place: Mapping[str, str] = field(default_factory=dict)
    stores: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The folder below which clients put local data and what they kept aside."""
        return self.folder / "work"

    def write(self) -> None:
        """Write the record."""
        path = _path(self.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {**asdict(self), "folder": str(self.folder)}
        unfinished = path.with_suffix(".unfinished")
        # Before anything is in it: with wider rights the password could be read for a moment.
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(content), encoding="utf-8")
        # In one step: other sessions read every record they find.
        unfinished.replace(path)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Tell others, for as long as the block runs, that it is in use."""
        with _path(self.run).open(encoding="utf-8") as file:
            # Shared, so that several UIs may be over one kept stack.
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    def in_use(self) -> bool:
        """Tell whether somebody uses it."""
        with _path(self.run).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def forget(run: str) -> None:
    """Remove the record of a run, of which nothing is left. Safe to call twice."""
    _path(run).unlink(missing_ok=True)


def all_kept() -> list[Kept]:
    """Return what was kept, the latest last."""
    # Ids of runs begin with the time of their start.
    return [_read(path) for path in sorted(locks.RUNS.glob(f"*{_SUFFIX}"))]


def find_kept(run: str | None) -> Kept:
    """Return what a run kept.

    Args:
        run: its id or its results folder; None for the latest that kept something.

    Raises:
        UsageError: when nothing is kept, or not by this run.
    """
    found = {kept.run: kept for kept in all_kept()}
    if not found:
        raise UsageError(
            "no run has kept its stack: run compat or fixed_db with --keep first, or name a"
            " database with --database-url"
        )
    if run is None:
        return list(found.values())[-1]
    name = run_named(run)
    if name not in found:
        raise UsageError(f"the run {name!r} has kept nothing{nearest(name, found)}")
    return found[name]


def run_named(text: str) -> str:
    """Return the id of the run that a user names by it, or by its results folder."""
    # Resolved, because results/latest is a link.
    return Path(text).resolve().name if os.sep in text else text


def _path(run: str) -> Path:
    return locks.RUNS / f"{run}{_SUFFIX}"


def _read(path: Path) -> Kept:
    content = json.loads(path.read_text(encoding="utf-8"))
    content["folder"] = Path(content["folder"])
    database = content["database"]
    database["tls"] = database.get("tls") and Tls(**database["tls"])
    content["database"] = Address(**database)
    return Kept(**content)
