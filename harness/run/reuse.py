"""Results of earlier runs that may be taken instead of running: those of the same key.

The journals in the results folder are where they are; there is no other store beside them. Reading
takes of each line only what it is found by, and a line whole when its result is taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.client.environment import describe_machine, digest_of_harness
from harness.core.entries import SCHEMA, CellEntry, Provenance, Reused, StageEntry
from harness.core.outcome import CheckOutcome, Status, cell_status
from harness.core.provenance import digest
from harness.run.options import Options
from harness.stack.stacks import Served

E = TypeVar("E", CellEntry, StageEntry)

_CLEAN = {Status.PASS, Status.FAIL, Status.UNSUPPORTED}
_UNTOLD = {Status.INFRA, Status.NOT_RUN}
"""What says nothing of a cell, neither for nor against another result of its key."""


class _Decided(msgspec.Struct, frozen=True):
    """What of a provenance a line is found by."""

    key: str = ""
    service: str = ""
    server: str = ""
    reported: str | None = None
    db_schema: int | None = None
    database: str = ""

    @property
    def served(self) -> Served:
        return Served(self.service, self.server, self.reported, self.db_schema, self.database)


class _Line(msgspec.Struct):
    """What of a line it is found by; any line of a journal, of any version of the format."""

    kind: str
    schema: int
    scenario: str = ""
    provenance: _Decided = _Decided()


@dataclass(frozen=True)
class _Place:
    """Where a line is: a journal, and its bytes from the beginning."""

    journal: Path
    start: int
    size: int

    def read(self) -> bytes:
        with self.journal.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


def decided_by(options: Options) -> Provenance:
    """Return what decides every outcome of a run: options that no cell's point tells, the machine.

    Without settings where somebody else's part has a say in it, or a password of which no digest
    may be written down: then no result is taken for another.
    """
    unknown = (
        options.service_url,
        options.database_url,
        options.database_password,
        options.s3_root,
    )
    settings = digest([options.timeout, options.database_user, options.database_name])
    return Provenance(
        settings="" if any(one is not None for one in unknown) else settings,
        machine=describe_machine(),
        harness=digest_of_harness(),
    )


class Earlier:
    """The results of earlier runs, by key.

    Args:
        results: the folder of their results.
        say: called with a sentence on each journal that nothing, or not all, is taken from.
    """

    def __init__(self, results: Path, say: Callable[[str], None]) -> None:
        self._say = say
        self._places: dict[tuple[str, str], list[_Place]] = {}
        self._served: dict[tuple[str, str, str], set[Served]] = {}
        for journal in sorted(results.glob("*/journal.jsonl")):
            # ``latest`` is one of the others.
            if not journal.parent.is_symlink():
                self._read(journal)

    def _read(self, journal: Path) -> None:
        try:
            text = journal.read_bytes()
        except OSError as error:
            self._say(f"{journal}: nothing is taken from it: {error.strerror}")
            return
        start = 0
        # What follows the last line's end was cut short, or is being written.
        for number, line in enumerate(text.split(b"\n")[:-1], start=1):
            try:
                found = _DECODER.decode(line)
            except msgspec.DecodeError as error:
                self._say(f"{journal}:{number}: nothing more is taken from it: {error}")
                return
            if found.schema != SCHEMA:
                of_before = f"of an earlier harness (journal schema {found.schema})"
                self._say(f"{journal}: nothing is taken from it: {of_before}")
                return
            if found.provenance.key:
                place = _Place(journal, start, len(line))
                self._places.setdefault((found.kind, found.provenance.key), []).append(place)
                if found.kind == "cell":
                    served = found.provenance.served
                    by = (served.service, served.server, found.scenario)
                    self._served.setdefault(by, set()).add(served)
            start += len(line) + 1

    def served(self, service: str, server: str, scenario: str) -> Served | None:
        """Return what a service and a PostgreSQL of some code were found to say of themselves.

        Args:
            service: its code.
            server: its code.
            scenario: what was done wrong on purpose.

        Returns:
            None where nobody has run them, or where they did not always say the same.
        """
        found = self._served.get((service, server, scenario), set())
        return next(iter(found)) if len(found) == 1 else None

    def cell(self, key: str, folder: Path) -> CellEntry | None:
        """Return the newest result of a key, its checks as they were before they were declared.

        Args:
            key: of the provenance.
            folder: what the paths of its evidence are to start from.

        Returns:
            None where there is none that tells of the product, or where they differ: then the key
            does not decide it.
        """
        told = [
            (entry, place)
            for entry, place in self._entries(key, CellEntry)
            if cell_status(_found(entry)) not in _UNTOLD
        ]
        ways = {tuple((name, one.status) for name, one in _found(e).items()) for e, _ in told}
        if len(ways) != 1 or cell_status(_found(told[0][0])) not in _CLEAN:
            return None
        entry, place = max(told, key=lambda one: _source(one[0]).at)
        return msgspec.structs.replace(
            entry,
            checks=_found(entry),
            evidence=_moved(entry.evidence, place.journal.parent, folder),
            reused=_source(entry),
            # Only what a run left itself is there to be shown by a UI.
            ended={},
        )

    def service(self, key: str, folder: Path) -> StageEntry | None:
        """Return what came of a service by itself; None where that cannot be told, or differs.

        Args:
            key: of the provenance.
            folder: what the path of its log is to start from.
        """
        told = [
            (entry, place)
            for entry, place in self._entries(key, StageEntry)
            if entry.status is not Status.INFRA
        ]
        ways = {_DIGESTED.encode([entry.observed, entry.lost]) for entry, _ in told}
        if len(ways) != 1 or told[0][0].lost or any(one.answered is None for one, _ in told):
            return None
        entry, place = max(told, key=lambda one: _source(one[0]).at)
        log = _moved({"log": entry.log}, place.journal.parent, folder).get("log", "")
        return msgspec.structs.replace(entry, log=log, reused=_source(entry))

    def _entries(self, key: str, kind: type[E]) -> Iterator[tuple[E, _Place]]:
        """Yield the entries of a key."""
        tag = str(kind.__struct_config__.tag)
        for place in self._places.get((tag, key), ()):
            try:
                yield msgspec.json.decode(place.read(), type=kind), place
            except (OSError, msgspec.DecodeError) as error:
                self._say(f"{place.journal}: a result is not taken from it: {error}")


_DECODER = msgspec.json.Decoder(_Line)
_DIGESTED = msgspec.json.Encoder(order="deterministic")


def _found(entry: CellEntry) -> dict[str, CheckOutcome]:
    """Return what came of a cell's checks, whatever is declared of them."""
    return entry.checks | entry.undeclared


def _source(entry: CellEntry | StageEntry) -> Reused:
    """Return where a result is from: a run, not one that took it itself."""
    return entry.reused or Reused(run=entry.run, at=entry.at)


def _moved(paths: dict[str, str], old: Path, new: Path) -> dict[str, str]:
    """Return paths that started from one folder as they start from another; only what is there."""
    return {
        kind: os.path.relpath(old / path, new)
        for kind, path in paths.items()
        if path and (old / path).exists()
    }
