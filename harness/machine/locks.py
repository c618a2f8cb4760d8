"""Which runs live: each holds a lock that the system drops when its process ends, however it ends.

The lock is a file named after the run under .nox/runs/, and holds the path of the run's folder.
A run that ends removes it; one that was killed leaves it, unlocked, for ``nox -s clean``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.machine.errors import UsageError
from harness.machine.tools import ROOT

RUNS = ROOT / ".nox" / "runs"


def lock_path(run_id: str) -> Path:
    """Return where the lock of a run is while it lives."""
    return RUNS / f"{run_id}.lock"


def locks() -> list[Path]:
    """Return the locks of all runs that have not ended: of those that live and of the killed."""
    # One that is not locked yet ends with .new, and is nobody's to clean.
    return sorted(RUNS.glob("*.lock"))


class RunLock:
    """Held by a run as long as it lives.

    Args:
        run_id: of the run.
        folder: its results folder.

    Raises:
        UsageError: when the run lives already.
    """

    def __init__(self, run_id: str, folder: Path) -> None:
        self.path = lock_path(run_id)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # It appears under its name only once it is locked: an unlocked one is a dead run's.
        unlocked = self.path.with_suffix(f".{os.getpid()}.new")
        self._file = unlocked.open("x", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A pid would tell less: another process may have it by the time somebody asks.
        self._file.write(str(folder))
        # Before it has its name: whoever finds the lock reads the folder in it.
        self._file.flush()
        try:
            # A link takes nobody's place: of two who resume a run, one gets it.
            self.path.hardlink_to(unlocked)
        except FileExistsError as error:
            self._file.close()
            raise UsageError(f"the run {run_id} goes on elsewhere") from error
        finally:
            unlocked.unlink()

    def release(self) -> None:
        """End it: the run has nothing left to clean. Safe to call twice."""
        # Unlinked before it is unlocked, or for a moment it would be the lock of a killed run.
        self.path.unlink(missing_ok=True)
        self._file.close()


@contextmanager
def claim_if_dead(lock: Path) -> Iterator[Path | None]:
    """Yield the folder of the run behind ``lock`` if it was killed, and None while it lives.

    While the folder is used nobody else can claim it; afterwards the lock is removed.
    """
    with lock.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        folder = file.read()
        if folder:
            yield Path(folder)
        else:  # the machine lost it, with its power, say: nobody's folder is meant
            yield None
        # Not in ``finally``: what broke off half-way must be known to the next ``clean``.
        lock.unlink(missing_ok=True)


def is_alive(lock: Path) -> bool:
    """Tell whether the run behind ``lock`` lives."""
    try:
        with lock.open(encoding="utf-8") as file:
            # Shared: two who ask at the same time must not take each other for the run.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    # The run ended between the listing of locks and this question.
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
