"""Keeps the local data of a kept run whole while a UI reads it.

UI backends from v2.4.11 on take what the client hands them for a temporary copy, and move it away:
with local data that is the log itself (docs/findings.md). Links to every file bring back what goes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.machine.errors import InfraError, UsageError
from harness.machine.locks import lock_path
from harness.stack.kept_stack import Kept

# shutil.move() in get_log_file_action.py: https://github.com/Netflix/metaflow-service/pull/424
_PREFIX = "before-"


def data_folders(kept: Kept) -> tuple[Path, ...]:
    """Return the folders that the clients of a kept run put local data in.

    Raises:
        UsageError: when the run's results were deleted.
    """
    if not kept.data.is_dir():
        raise UsageError(
            f"what {kept.run} kept is gone from {kept.data}: nox -s clean -- {kept.run} forgets it"
        )
    # A walk has one for all; elsewhere each cell has its own, beside its client's HOME.
    cells = (
        folder / "data" for folder in sorted(kept.data.iterdir()) if (folder / "home").is_dir()
    )
    return tuple(folder for folder in (kept.data / "data", *cells) if folder.is_dir())


class DataLinks:
    """A second link to every file of a kept run's data.

    Every method raises InfraError where the file system refuses.

    Args:
        kept: the run.
        user: id of the run of ``ui`` that reads it.

    Raises:
        UsageError: when the run's results were deleted.
    """

    def __init__(self, kept: Kept, user: str) -> None:
        self._data = kept.data
        self._folders = data_folders(kept)
        self._place = kept.data / f"{_PREFIX}{user}"

    def take(self) -> None:
        """Make the links, after what earlier UIs took was brought back."""
        with self._doing():
            for place in self._data.glob(f"{_PREFIX}*"):
                _put_back(place, self._data)
                # A UI that was left running still needs its own; it goes with it (nox -s clean).
                if not lock_path(place.name.removeprefix(_PREFIX)).exists():
                    shutil.rmtree(place)
            for folder in self._folders:
                target = self._place / folder.relative_to(self._data)
                # Hard links take no space, and hold what another name loses by a move.
                shutil.copytree(folder, target, copy_function=os.link, symlinks=True)

    def put_back(self) -> list[str]:
        """Bring back what is gone; return the files, from the folder of the data."""
        with self._doing():
            return _put_back(self._place, self._data)

    def drop(self) -> None:
        """Bring back what is gone, and remove the links. Safe to call twice."""
        if self._place.exists():
            self.put_back()
            with self._doing():
                shutil.rmtree(self._place)

    @contextmanager
    def _doing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # A tree's error holds one for each file; the first tells enough.
            why = error.args[0][0][-1] if isinstance(error, shutil.Error) else error
            raise InfraError(f"the local data in {self._data} cannot be linked: {why}") from error


def left_links(data: Path) -> list[Path]:
    """Return the folders of links that UIs left; see ``restore_all``."""
    return sorted(data.glob(f"{_PREFIX}*"))


def restore_all(data: Path) -> None:
    """Bring back what UIs took that were killed, or left running and ended since.

    Args:
        data: the working folder of a kept run that no UI uses any more.
    """
    for place in left_links(data):
        _put_back(place, data)
        shutil.rmtree(place)


def _put_back(place: Path, data: Path) -> list[str]:
    gone = []
    for linked in sorted(path for path in place.rglob("*") if path.is_file()):
        inner = linked.relative_to(place)
        if not (data / inner).exists():
            (data / inner).parent.mkdir(parents=True, exist_ok=True)
            os.link(linked, data / inner)
            gone.append(str(inner))
    return gone
