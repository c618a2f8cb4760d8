"""Units of a run on a Dask cluster: what comes of them is recorded as if they had run here.

Dask is in an environment of its own, with the program that speaks to the cluster
(``dispatcher.py``); where this process ends, however it does, that ends what runs for it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import msgspec

from harness.core.entries import CellEntry, Entry, Environment, Note, PlannedCell, StageEntry
from harness.core.outcome import Status, cell_status
from harness.core.plan import Cell, Plan, conclusive
from harness.machine.errors import InfraError, UsageError, in_words
from harness.machine.processes import MARK
from harness.machine.tools import tool_python
from harness.report.merge import moved
from harness.report.text import counted
from harness.run.attempts import Batch
from harness.run.cluster.source import write_module
from harness.run.folder import RunFolder
from harness.run.record import Record

REQUIREMENTS = ("distributed>=2025.1",)
_DISPATCHER = Path(__file__).with_name("dispatcher.py")
# More than the programs that end take at most, one after the other.
_END_SECONDS = 240.0
_CONNECT_SECONDS = 10.0
_ELSEWHERE = "elsewhere"
"""Folder of what was brought from workers, below the run's."""

_DECODER = msgspec.json.Decoder(Entry)

Unit = Sequence[Cell]
"""Cells that are done by one worker, in one go."""

_Told = CellEntry | StageEntry | Environment | Note
"""What is taken of an answer."""


class AskedCell(msgspec.Struct):
    """A cell as a worker is asked for it.

    Attributes:
        planned: what it is here: a worker that has something else of it does not run it.
        told: how many of its attempts have told something already.
    """

    planned: PlannedCell
    told: int = 0


def check_scheduler(address: str) -> None:
    """Raise UsageError when nothing answers at the address of a scheduler."""
    place = urlsplit(address)
    assert place.hostname is not None, "its option was checked"
    try:
        socket.create_connection((place.hostname, place.port or 0), _CONNECT_SECONDS).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(
            f"--scheduler {address}: nothing answers there ({why}); dask scheduler starts one"
        ) from error


class Cluster:
    """The cluster of one run.

    Args:
        address: of its scheduler.
        words: what follows ``--`` of the runs that its workers do.
        plan: of the run.
        folder: of the run.
        record: where results are written.
        show: called with each cell that was recorded.
        fail: records cells that could not run, and why, and returns their entries.
        say: prints a line.
        answered: called with the number of the workers' threads when it is known.

    Raises:
        InfraError: when the environment with Dask cannot be made.
    """

    def __init__(
        self,
        address: str,
        words: Sequence[str],
        plan: Plan,
        folder: RunFolder,
        record: Record,
        *,
        show: Callable[[CellEntry], None],
        fail: Callable[[Unit, Status, str], list[CellEntry]],
        say: Callable[[str], None],
        answered: Callable[[int], None],
    ) -> None:
        self._words = list(words)
        self._plan = plan
        self._folder = folder
        self._record = record
        self._show = show
        self._fail = fail
        self._say = say
        self._answered = answered
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[Unit, Batch[CellEntry]]] = {}
        self._asked = 0
        self._told = conclusive(record.view.attempts)
        # Of a run that goes on there are some.
        own = (stage for stage in record.view.stages if stage.run == record.run)
        self._services = {(stage.walk, stage.service): stage for stage in own}
        """By walk and service, what was told of it by itself."""
        self._over = ""
        """Why nothing more can be done there; empty while it can."""
        self._log = folder.path / "cluster.txt"
        self._process = self._start(address)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _start(self, address: str) -> subprocess.Popen[str]:
        """Start what speaks to the cluster."""
        python = tool_python("dask", REQUIREMENTS)
        home = self._folder.work / "cluster"
        home.mkdir(parents=True, exist_ok=True)
        module = write_module(home)
        # Others of this run may be on their way still, where it goes on after a kill.
        name = f"{self._folder.run}.{secrets.token_hex(2)}"
        with self._log.open("a") as log:
            return subprocess.Popen(
                [str(python), str(_DISPATCHER), address, str(module), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Of the run's own mark, which none of its parts has: it outlives what ends them.
                env={**os.environ, MARK: self._folder.run},
                encoding="utf-8",
                # Ctrl-C is for the run, which ends it in order.
                start_new_session=True,
            )

    def submit(self, units: Iterable[Unit]) -> Batch[CellEntry]:
        """Give units to the cluster: those of a client, or a service, to one worker if it is free.

        Args:
            units: what to do; those that come first are begun first.
        """
        left = [list(unit) for unit in units if unit]
        batch: Batch[CellEntry] = Batch(len(left))
        for unit in left:
            self._asked += 1
            self._waiting[self._asked] = unit, batch
            what = {
                "session": unit[0].session,
                "words": self._words,
                "cells": [msgspec.to_builtins(self._asked_cell(cell)) for cell in unit],
            }
            self._ask(number=self._asked, near=_near(unit[0]), unit=what)
        if self._over:
            self._give_up(self._over)
        return batch

    def _asked_cell(self, cell: Cell) -> AskedCell:
        return AskedCell(self._plan.planned(cell), self._told[cell.id])

    def _ask(self, **request: object) -> None:
        assert self._process.stdin is not None, "it is a pipe"
        # It has ended: the listener tells of that.
        with self._lock, contextlib.suppress(BrokenPipeError, ValueError):
            print(json.dumps(request), file=self._process.stdin, flush=True)

    def _listen(self) -> None:
        assert self._process.stdout is not None, "it is a pipe"
        for line in self._process.stdout:
            try:
                self._hear(json.loads(line))
            except Exception as error:  # noqa: BLE001 - others may still be told
                self._say(f"what the cluster told could not be taken: {in_words(error)}")
        self._over = f"what spoke to the cluster has ended; see {self._log}"
        self._give_up(self._over)

    def _hear(self, told: Mapping[str, Any]) -> None:
        match told:
            case {"threads": threads, "versions": versions}:
                self._say(_described(threads, versions))
                self._answered(sum(threads))
            case {"number": number, **result}:
                self._end_unit(number, result)
            case {"ended": answers}:
                for answer in answers:
                    self._take(answer, ())
            case {"note": note}:
                self._say(note)
            case {"refused": why}:
                self._say(f"no cluster: {why}")

    def _end_unit(self, number: int, result: Mapping[str, Any]) -> None:
        # Nobody waits for it any more where the run is being ended.
        unit, batch = self._waiting.pop(number, (None, None))
        if unit is None or batch is None:
            return
        try:
            if "answer" in result:
                batch.tell(*self._take(result["answer"], unit))
            else:
                why = f"no worker did it: {result['error']}"
                batch.tell(*self._fail(unit, Status.INFRA, why))
        except (ValueError, KeyError, msgspec.DecodeError) as error:
            why = f"what its worker told could not be taken: {in_words(error)}"
            batch.tell(*self._fail(unit, Status.INFRA, why))
        except Exception as error:
            # Of this machine, which has no room, above all.
            batch.fail(error)
            raise

    def _give_up(self, why: str) -> None:
        """Record that what waits for the cluster is not done."""
        for unit, batch in self._left():
            batch.tell(*self._fail(unit, Status.INFRA, why))

    def _left(self) -> Iterator[tuple[Unit, Batch[CellEntry]]]:
        """Take away and yield what waits for the cluster."""
        # Another thread may do so, too.
        with contextlib.suppress(KeyError):
            while True:
                yield self._waiting.popitem()[1]

    def _take(self, answer: Mapping[str, Any], unit: Unit) -> list[CellEntry]:
        """Record what a worker tells, and return the entries of a unit's cells."""
        home = _below(self._folder.path / _ELSEWHERE, answer["place"])
        for name, content in answer["files"].items():
            path = _below(home, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(content))
        cells = {cell.id: cell for cell in unit}
        taken = []
        # All of them are looked at before the first is recorded: of half a unit nothing is taken.
        for entry in list(_believed(answer)):
            if not isinstance(entry, CellEntry):
                self._take_other(moved(entry, home, self._folder.path))
            elif entry.id in cells:
                taken.append(self._take_cell(entry, cells[entry.id], home))
        done = {entry.id for entry in taken}
        for cell in unit:
            if cell.id not in done:
                ended = "its worker ended before it was done"
                why = str(answer.get("refused", {}).get(cell.id, ended))
                taken += self._fail([cell], Status.INFRA, why)
        return taken

    def _take_cell(self, found: CellEntry, cell: Cell, home: Path) -> CellEntry:
        # A line that runs it here may have other words than there.
        planned = msgspec.structs.asdict(self._plan.planned(cell))
        own = msgspec.structs.replace(found, **planned, run=self._record.run)
        entry = self._record.add(moved(own, home, self._folder.path))
        self._show(entry)
        return entry

    def _take_other(self, found: StageEntry | Environment | Note) -> None:
        """Record what is told by each worker once, and of a service also what another found."""
        entry = msgspec.structs.replace(found, run=self._record.run)
        match entry:
            case StageEntry():
                self._take_service(entry)
                return
            case Environment() if entry.digest in self._record.view.environments:
                return
            case Note() if entry.text in self._record.view.notes.get(entry.service, {}):
                return
        self._record.add(entry)

    def _take_service(self, entry: StageEntry) -> None:
        """Record what is told of a service by itself, unless it is told already."""
        before = self._services.get((entry.walk, entry.service))
        if before is not None and before.status is not Status.INFRA:
            new = {*entry.problems, *entry.lost} - {*before.problems, *before.lost}
            if entry.status is Status.INFRA or entry.status.expected or not new:
                return
            # What is well on one worker does not make good what is wrong on another.
            entry.problems = [*dict.fromkeys([*before.problems, *entry.problems])]
            entry.lost = [*dict.fromkeys([*before.lost, *entry.lost])]
        self._services[entry.walk, entry.service] = entry
        self._record.add(entry)

    @property
    def busy(self) -> bool:
        """Whether something waits for it."""
        return bool(self._waiting)

    def cancel(self) -> None:
        """Let nobody wait for it any more; what its workers do is ended by ``end``."""
        for _, batch in self._left():
            batch.fail(InfraError("the run was ended meanwhile"))

    def end(self, *, now: bool) -> list[str]:
        """End what serves the run on the workers, and take what is left to be told.

        Args:
            now: whether what is on its way is ended, too.

        Returns:
            A sentence where that could not be.
        """
        self._ask(end=now)
        said = []
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            said = ["the cluster did not end its part of the run: its workers do when they idle"]
            self._process.kill()
        self._listener.join()
        for pipe in filter(None, (self._process.stdin, self._process.stdout)):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        return said


def _near(cell: Cell) -> str:
    """Return what tells the units whose environments, or whose stack, are the same."""
    if cell.writer is not None and cell.service is not None:
        return cell.service.name
    return f"{cell.client.name} {cell.python} {cell.deps}"


def _believed(answer: Mapping[str, Any]) -> Iterator[_Told]:
    """Yield the entries of an answer that are taken, with no file that it did not bring.

    Raises:
        ValueError: for a cell whose status is not what its checks say, which no journal holds.
        msgspec.DecodeError: for what is no entry.
    """
    for line in answer["lines"]:
        entry = _DECODER.decode(line)
        if isinstance(entry, CellEntry):
            if entry.status is not cell_status(entry.checks):
                raise ValueError(f"{entry.id} is told as {entry.status}, and its checks are not")
            # Reports show what stands in them, whatever files they are.
            brought = {kind: one for kind, one in entry.evidence.items() if one in answer["files"]}
            yield msgspec.structs.replace(entry, evidence=brought)
        elif isinstance(entry, StageEntry):
            yield msgspec.structs.replace(
                entry, log=entry.log if entry.log in answer["files"] else ""
            )
        elif isinstance(entry, Environment | Note):
            yield entry


def _described(threads: Sequence[int], versions: Sequence[str]) -> str:
    workers = f"{counted(len(threads), 'worker')} with {counted(sum(threads), 'thread')}"
    several = f"; Dask has several versions there and here, {', '.join(versions)}"
    return f"cluster: {workers}{several if len(versions) > 1 else ''}"


def _below(folder: Path, name: str) -> Path:
    """Return a file below a folder.

    Raises:
        ValueError: when it would be another one: names come from a worker.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{name!r} is no place for what a worker brought")
    return folder / path
