"""The journal: append-only JSON lines, the only truth; every report is drawn from it.

The first line is the run, the second its plan, then one line per finished cell, stage or note, and
last the end. ``harness.core.entries`` holds the types; docs/journal.md tells of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.core.entries import (
    SCHEMA,
    Begun,
    CellEntry,
    Entry,
    Planned,
    PlannedCell,
    Provenance,
    Rerun,
)
from harness.core.outcome import cell_status
from harness.core.redact import Redactor
from harness.machine.errors import UsageError

E = TypeVar("E", bound=Entry)

# Made once: building a decoder takes much longer than decoding a line.
_DECODER = msgspec.json.Decoder(Entry)


class Journal:
    """Writer of one run's journal; safe to use from several threads.

    Args:
        path: the file; it is created and must not exist yet.
        secrets: strings that are replaced before anything is written, beside all that looks like
            a secret.
        goes_on: whether the file is there, and what is written goes behind its last whole line.

    Attributes:
        refused: why entries wait to be written; empty when none does.
    """

    refused = ""

    def __init__(self, path: Path, secrets: Iterable[str] = (), *, goes_on: bool = False) -> None:
        self.path = path
        self._redactor = Redactor(secrets)
        self._lock = threading.Lock()
        self._unwritten: list[bytes] = []
        self._alike = _Alike()
        # Without a buffer: what a full disk refused would come twice with the next line.
        if not goes_on:
            path.touch(mode=0o600, exist_ok=False)
        self._file = path.open("r+b", buffering=0)
        if goes_on:
            # A line cut short by a kill says nothing to readers; the next one must not be glued on.
            self._file.truncate(path.read_bytes().rfind(b"\n") + 1)
            self._file.seek(0, os.SEEK_END)

    def append(self, entry: E) -> E:
        """Write one entry to disk before returning it as it was written, without secrets.

        One that finds no room waits for the next one (see ``refused``).
        """
        clean = self._redactor.entry(msgspec.to_builtins(entry))
        line = encode(clean)
        with self._lock:
            self._unwritten.append(line)
            self.refused = self._write()
        # Read back, so that a live report shows nothing that is not in the journal.
        return self._alike.entry(msgspec.json.decode(line, type=type(entry)))

    def _write(self) -> str:
        """Write what is not written yet, whole lines; return why it could not be."""
        whole = self._file.tell()
        left = b"".join(self._unwritten)
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
            # The journal is the only truth: an entry outlives a crash of the machine, too.
            os.fsync(self._file.fileno())
        except OSError as error:
            # Half a line would spoil the next one; to make a file shorter needs no room.
            self._file.truncate(whole)
            self._file.seek(whole)
            count = len(self._unwritten)
            return f"{count} entries could not be written to {self.path}: {error.strerror}"
        self._unwritten.clear()
        return ""

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()


class _Alike:
    """Lets equal texts of entries, and equal outcomes of all checks, be one object each.

    Tens of thousands of cells have most of theirs in common.
    """

    def __init__(self) -> None:
        self._known: dict[object, object] = {}

    def entry(self, entry: E) -> E:
        """Return the entry; nobody can tell what it shares with others."""
        if isinstance(entry, CellEntry):
            self._share(entry)
            self._share(entry.provenance)
        elif isinstance(entry, Planned):
            for cell in entry.cells:
                self._share(cell)
        return entry

    def _share(self, part: PlannedCell | Provenance) -> None:
        for field in part.__struct_fields__:
            value = getattr(part, field)
            if isinstance(value, str):
                one = self._known.setdefault(value, value)
            elif field == "checks":
                one = self._known.setdefault(tuple(value.items()), value)
            else:
                continue
            msgspec.structs.force_setattr(part, field, one)


def encode(entry: Entry | dict[str, object]) -> bytes:
    """Return the line of an entry."""
    try:
        return msgspec.json.encode(entry) + b"\n"
    except UnicodeEncodeError:
        # A product may print half of a character (a lone surrogate), which no JSON can hold.
        return msgspec.json.encode(_whole(msgspec.to_builtins(entry))) + b"\n"


def _whole(value: object) -> object:
    """Return a value of JSON with the halves of characters in it written out."""
    if isinstance(value, str):
        return value.encode("utf-8", errors="backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_whole(key): _whole(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(inside) for inside in value]
    return value


def read(path: Path) -> list[Entry]:
    """Read a journal, or the one in a results folder.

    A last line cut short by a killed run is left out; anything else that is not what a run writes
    is an error.

    Raises:
        UsageError: when there is no journal, or a line of it cannot be believed: it names the
            line and the field.
    """
    path = path / "journal.jsonl" if path.is_dir() else path
    try:
        # By bytes, not as text: what clients print may hold other characters that end lines.
        with path.open("rb") as file:
            # What does not end was cut short by a kill.
            whole = (line for line in file if line.endswith(b"\n"))
            alike, numbered = _Alike(), enumerate(whole, start=1)
            entries = [alike.entry(_entry(path, number, line)) for number, line in numbered]
    except OSError as error:
        raise UsageError(f"{path}: no journal: {error.strerror}") from error
    if not entries:
        raise UsageError(f"{path}: the journal is empty")
    _check_order(path, entries)
    return entries


def _entry(path: Path, number: int, line: bytes) -> Entry:
    try:
        entry: Entry = _DECODER.decode(line)
    except msgspec.ValidationError as error:
        why = _of_before(line) or f"not an entry of journal schema {SCHEMA}: {error}"
        raise UsageError(f"{path}:{number}: {why}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}:{number}: not a JSON line: {error}") from error
    return entry


class _Versioned(msgspec.Struct):
    """Any entry of any version of the format."""

    schema: int


def _of_before(line: bytes) -> str:
    """Return what to say of a line that an earlier harness wrote; nothing for any other."""
    try:
        written = msgspec.json.decode(line, type=_Versioned)
    except (msgspec.DecodeError, RecursionError):
        return ""
    # Of this version or a later one: then the fault that was found first is the one to tell.
    if written.schema >= SCHEMA:
        return ""
    known = f"of an earlier harness; this one reads {SCHEMA}: run again"
    return f"journal schema {written.schema} {known}"


def _check_order(path: Path, entries: Iterable[Entry]) -> None:
    """Raise UsageError for an entry of a run that has not begun, or that contradicts itself."""
    begun: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        if isinstance(entry, Begun):
            begun.add(entry.run)
        # It is about several runs, and of none.
        elif isinstance(entry, Rerun):
            continue
        elif entry.run not in begun:
            raise UsageError(f"{path}:{number}: field 'run': run {entry.run!r} has not begun")
        elif isinstance(entry, CellEntry) and entry.status is not cell_status(entry.checks):
            raise UsageError(
                f"{path}:{number}: field 'status': {entry.status.value!r}, and its checks say"
                f" {cell_status(entry.checks).value!r}"
            )
