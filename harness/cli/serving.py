"""Serving units of a run to whoever asks, in place of running the plan: for a worker of a cluster.

Two pipes, named by a variable: requests come as lines of JSON, ``number`` and ``cells``, what is
asked of each of a unit (``cluster.AskedCell``). An answer is ``number``, ``folder``, that of the
results, ``lines`` of the journal: of the cells, of the environments of their clients, of their
services; and ``refused``, by the id of each cell that is another one here, or none, why it was not
run. The last one, of no number, comes when the run has ended, which it does where the requests end:
with who asked.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from harness.catalog.releases import Client
from harness.cli.coming import session_of
from harness.core.entries import CellEntry, Entry, Environment, Note, PlannedCell, StageEntry
from harness.core.journal import encode
from harness.core.plan import Cell
from harness.machine.errors import HarnessError
from harness.run.attempts import Begun
from harness.run.cluster.cluster import AskedCell
from harness.run.cluster.on_worker import UNITS
from harness.run.run import Run

Begin = Callable[[Sequence[Cell]], Begun]
"""Makes the environments that a unit needs, and lets it begin."""


_CALLED = {
    "python": "Python",
    "probe_digest": "a probe of digest",
    "build": "commit of the service",
}
"""What some of the fields of what is planned are called."""


class _Asked(msgspec.Struct):
    number: int
    cells: list[AskedCell]


def pipes() -> tuple[BinaryIO, BinaryIO] | None:
    """Return where requests come from and where answers go; None where nobody asks for units."""
    named = os.environ.pop(UNITS, None)
    if named is None:
        return None
    requests, answers = (int(one) for one in named.split(","))
    for end in (requests, answers):
        # No program that is started from here has a part in it.
        os.set_inheritable(end, False)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")


class Environments:
    """The environments of clients, each made when a unit needs it first.

    Args:
        run: in which units are done.
        install: makes the environment of a session by what stands in its parentheses, and returns
            its interpreter; it records what becomes of the cells of one that cannot be made.
    """

    def __init__(self, run: Run, install: Callable[[str], Path]) -> None:
        self._run = run
        self._install = install
        self._made: dict[str, Path | None] = {}

    def begin(self, cells: Sequence[Cell]) -> Begun:
        """Let those cells of a unit begin whose clients can be had.

        Raises:
            HarnessError: when no unit can begin any more.
        """
        ready = [cell for cell in cells if None not in map(partial(self._of, cell), cell.clients)]
        pythons = {one: self._of(cell, one) or Path() for cell in ready for one in cell.clients}
        if self._run.options.session == "cross":
            return self._run.begin_together(ready, pythons)
        return self._run.begin(ready, lambda cell: pythons[cell.client])

    def _of(self, cell: Cell, client: Client) -> Path | None:
        name = session_of(cell, client)
        if name not in self._made:
            try:
                self._made[name] = self._install(name)
            except Exception as error:  # noqa: BLE001 - nox's own is private
                self._made[name] = None
                self._run.screen.say(f"{name}: {error}")
        return self._made[name]


class Serving:
    """Serves the units of a run until it is asked for no more.

    Args:
        run: the run, in which nothing else runs cells.
        begin: lets a unit begin.
        answers: where answers go.
    """

    def __init__(self, run: Run, begin: Begin, answers: BinaryIO) -> None:
        self._run = run
        self._begin = begin
        self._answers = answers
        self._planned = {cell.id: cell for cell in run.plan.cells}
        self._lock = threading.Lock()
        self._attempts: dict[str, list[CellEntry]] = defaultdict(list)
        self._beside: dict[object, StageEntry | Environment | Note] = {}
        """The last of what tells of one service, of an environment, and each note."""
        run.record.hear = self._hear

    def serve(self, requests: Iterable[bytes]) -> None:
        """Do what is asked for, several units at a time, until the requests end; end the run."""
        try:
            with self._run.executor.cancelling():
                for line in requests:
                    self._do(msgspec.json.decode(line, type=_Asked))
                self._run.executor.close()
        finally:
            self._run.end()
            self._tell(None, self._beside.values())

    def _do(self, asked: _Asked) -> None:
        refused = {}
        for one in asked.cells:
            why = self._refused(one.planned)
            if why:
                refused[one.planned.id] = why
            self._run.attempts.told(one.planned.id, one.told)
        left = [one.planned.id for one in asked.cells if one.planned.id not in refused]

        def tell() -> None:
            self._tell(asked.number, list(self._about(left)), refused)

        try:
            batch = self._begin([self._planned[name] for name in left])
        except HarnessError:
            # What keeps cells from running is recorded as what came of them.
            tell()
        else:
            batch.when_done(tell)

    def _refused(self, planned: PlannedCell) -> str:
        """Return why a cell is not run here: it is another one, or none; empty where it is it."""
        cell = self._planned.get(planned.id)
        if cell is None:
            return "its worker has no such cell: what names its versions is not the same there"
        own = self._run.plan.planned(cell)
        for name in planned.__struct_fields__:
            here, there = getattr(own, name), getattr(planned, name)
            # A line that runs it again is made of the words that a run was given.
            if here != there and name != "rerun":
                called = _CALLED.get(name, name.replace("_", " "))
                advice = ": --python names another" if name == "python" else ""
                has = f"{called} {here}" if here else f"no {called}"
                return f"its worker has {has} for it, and {there or 'none'} is planned{advice}"
        return ""

    def _hear(self, entry: Entry) -> None:
        with self._lock:
            match entry:
                case CellEntry():
                    self._attempts[entry.id].append(entry)
                case StageEntry():
                    self._beside[entry.walk, entry.service] = entry
                case Environment():
                    self._beside[entry.digest] = entry
                case Note():
                    self._beside[entry.service, entry.text] = entry

    def _about(self, ids: Iterable[str]) -> Iterator[Entry]:
        """Yield what came of cells, and all there is about their environments and services.

        That is told with each of them: of an answer nobody knows that it arrived.
        """
        with self._lock:
            attempts = [one for name in ids for one in self._attempts.pop(name, ())]
            names = {one.service for one in attempts} | {
                digest
                for one in attempts
                for digest in (one.provenance.environment, *one.provenance.others.values())
            }
            for entry in self._beside.values():
                if (entry.digest if isinstance(entry, Environment) else entry.service) in names:
                    yield entry
            yield from attempts

    def _tell(
        self, number: int | None, entries: Iterable[Entry], refused: Mapping[str, str] | None = None
    ) -> None:
        lines = [encode(entry).decode() for entry in entries]
        folder = str(self._run.folder.path)
        told = {"number": number, "folder": folder, "lines": lines, "refused": refused or {}}
        # Nobody is left to be told where the worker was killed.
        with self._lock, suppress(BrokenPipeError):
            self._answers.write(msgspec.json.encode(told) + b"\n")
            self._answers.flush()
