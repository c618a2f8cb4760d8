"""What a finished stage of a walk leaves for ``--resume``: its database, its data, what was seen.

A stage is a folder ``NN`` of its walk's below the run's ``saved``, and only the last one stays. The
file ``stage.json`` is written last: a folder without it was not saved to the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.client.reading import WrittenRun
from harness.core.plan import Cell
from harness.machine import locks
from harness.machine.errors import InfraError
from harness.proof import fingerprint
from harness.proof.contract import Observed
from harness.proof.fingerprint import Fingerprint
from harness.run.folder import RunFolder
from harness.run.options import Options
from harness.stack.database.dump import dump, restore
from harness.stack.database.server import Address

_INDEX = "stage.json"
_DATABASE = "database"
_DATA = "data"
_SUFFIX = ".saved"


@dataclass(frozen=True)
class Seen:
    """What a walk knows when a stage is done.

    Attributes:
        written: every run so far.
        left: the fingerprint of the database.
        observed: how the service behaved, at the last stage where all could be asked.
    """

    written: Sequence[WrittenRun]
    left: Fingerprint
    observed: Observed


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    """A run, its cell by id."""

    cell: str
    run_id: str
    inventory: dict[str, Any]
    passed: tuple[str, ...]


class _Index(msgspec.Struct, forbid_unknown_fields=True):
    written: list[_Written]
    left: Fingerprint
    observed: Observed


def why_unsaved(options: Options) -> str:
    """Return why stages of a walk with these options are not saved; empty when they are."""
    if options.database_url is not None:
        return "a walk over a database of your own cannot go on: no run takes yours back"
    if options.s3_root is not None:
        return "a walk with objects in a bucket of your own cannot go on: no run takes yours back"
    return ""


class SavedStages:
    """What is saved of one walk.

    Args:
        folder: of the run.
        walk: its name.
        data: the folder of what its clients store.
        options: of the run.
        say: prints a line.
    """

    def __init__(
        self,
        folder: RunFolder,
        walk: str,
        data: Path,
        options: Options,
        say: Callable[[str], None],
    ) -> None:
        self._run = folder.run
        self._saved = folder.saved
        self._own = _folder(folder.saved, walk)
        self._data = data
        self._unsaved = why_unsaved(options)
        self._say = say

    def save(self, stage: int, database: Address, seen: Seen, programs: Path | None = None) -> bool:
        """Save a stage, beside those that are saved already; return whether it is.

        A walk goes on without: then it is told why.

        Args:
            stage: its number.
            database: as it is now.
            seen: what the walk knows.
            programs: those that came with the server; None where they are elsewhere.
        """
        if self._unsaved:
            return False
        folder = self._own / f"{stage:02d}"
        try:
            self._write(folder, database, seen, programs)
        except (InfraError, OSError, shutil.Error) as error:
            self._say(f"stage {stage} is not saved for --resume: {error}")
            return False
        return True

    def _write(self, folder: Path, database: Address, seen: Seen, programs: Path | None) -> None:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        # First: whoever cleans must find what is not saved to its end, too.
        locks.RUNS.mkdir(parents=True, exist_ok=True)
        _note(self._run).write_text(str(self._saved), encoding="utf-8")
        dump(database, folder / _DATABASE, programs)
        if self._data.exists():
            shutil.copytree(self._data, folder / _DATA, symlinks=True)
        written = [
            _Written(one.cell.id, one.run_id, one.inventory, one.passed) for one in seen.written
        ]
        index = _Index(written, seen.left, seen.observed)
        unfinished = folder / f"{_INDEX}.unfinished"
        unfinished.write_bytes(msgspec.json.encode(index))
        unfinished.replace(folder / _INDEX)

    def load(
        self, stage: int, database: Address, cells: Iterable[Cell], programs: Path | None = None
    ) -> Seen:
        """Make the database and the data what they were when a stage was done.

        Args:
            stage: its number.
            database: an empty one.
            cells: all of the run's.
            programs: as of ``save``.

        Raises:
            InfraError: when that cannot be, or the database is not as the stage left it.
        """
        folder, by_id = self._own / f"{stage:02d}", {cell.id: cell for cell in cells}
        try:
            index = msgspec.json.decode((folder / _INDEX).read_bytes(), type=_Index)
            if (folder / _DATA).exists():
                shutil.copytree(folder / _DATA, self._data, symlinks=True)
        except (OSError, shutil.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InfraError(f"the walk cannot go on behind stage {stage}: {error}") from error
        restore(folder / _DATABASE, database, programs)
        losses = fingerprint.compare(index.left, database)
        if losses:
            raise InfraError(
                f"the walk cannot go on: the saved database is not what stage {stage} left:"
                f" {losses[0]}; {len(losses)} in all"
            )
        written = [
            WrittenRun(by_id[one.cell], one.run_id, one.inventory, one.passed)
            for one in index.written
        ]
        return Seen(written, index.left, index.observed)

    def check(self, stage: int) -> None:
        """Raise InfraError, with the reason, when nothing can become what it was behind a stage.

        Args:
            stage: its number; 0 for the beginning of the walk, which nothing need be saved of.
        """
        if self._unsaved:
            raise InfraError(self._unsaved)
        if stage and stage not in _numbers(self._own):
            raise InfraError(f"stage {stage} is not saved")

    def forget_before(self, stage: int) -> None:
        """Remove what is saved of earlier stages than one."""
        for number in _numbers(self._own):
            if number < stage:
                shutil.rmtree(self._own / f"{number:02d}", ignore_errors=True)


def saved_numbers(folder: RunFolder, walk: str) -> list[int]:
    """Return the numbers of the stages of a walk that are saved to their end."""
    return _numbers(_folder(folder.saved, walk))


def all_saved() -> Mapping[str, Path]:
    """Return by run where it saves, of all runs of this project that have something there."""
    notes = {path.stem: Path(path.read_text(encoding="utf-8")) for path in _notes()}
    return {run: folder for run, folder in notes.items() if folder.exists()}


def remove_saved(run: str, saved: Path) -> None:
    """Remove all that a run saved. Safe to call twice.

    Raises:
        InfraError: when something refuses to go; it stays known then.
    """
    try:
        if saved.exists():
            shutil.rmtree(saved)
        _note(run).unlink(missing_ok=True)
    except OSError as error:
        raise InfraError(f"{saved} could not be removed: {error}") from error


def _notes() -> list[Path]:
    return sorted(locks.RUNS.glob(f"*{_SUFFIX}"))


def _note(run: str) -> Path:
    return locks.RUNS / f"{run}{_SUFFIX}"


def _numbers(own: Path) -> list[int]:
    return sorted(int(path.parent.name) for path in own.glob(f"*/{_INDEX}"))


def _folder(saved: Path, walk: str) -> Path:
    return saved / (walk.replace("/", "-") or "walk")
