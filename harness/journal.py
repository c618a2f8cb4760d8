"""The journal: append-only JSON lines, the only truth; every report is drawn from it.

The first line is the run, then one line per finished cell, stage or note, and last the end.
docs/journal.md describes every field.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.redact import Redactor

SCHEMA = 1
"""Version of the journal's format; it changes when a field changes meaning or goes."""

Entry = dict[str, Any]


def now() -> str:
    """Return the time in UTC as ISO 8601 with seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Journal:
    """Writer of one run's journal; safe to use from several threads.

    Args:
        path: the file; it is created and must not exist yet.
        secrets: strings that are replaced before anything is written, beside all that looks like
            a secret.
    """

    def __init__(self, path: Path, secrets: Iterable[str] = ()) -> None:
        self.path = path
        self._redactor = Redactor(secrets)
        self._lock = threading.Lock()
        self._file = path.open("x", encoding="utf-8")

    def append(self, kind: str, **fields: Any) -> Entry:
        """Write one entry to disk before returning it as it was written, without secrets."""
        entry = {"kind": kind, "schema": SCHEMA, "at": now(), **self._redactor.entry(fields)}
        with self._lock:
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        return entry

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()


def read(path: Path) -> list[Entry]:
    """Read a journal, or the one in a results folder.

    A last line cut short by a killed run is left out; anything else that is not an entry of a
    known schema is an error.

    Raises:
        UsageError: when there is no journal, or a line of it cannot be read.
    """
    path = path / "journal.jsonl" if path.is_dir() else path
    try:
        # Not text.splitlines(): what clients print may hold other characters that end lines.
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UsageError(f"{path}: no journal: {error.strerror}") from error
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise UsageError(f"{path}:{number}: not a JSON line: {error}") from error
        if not isinstance(entry, dict) or entry.get("schema") != SCHEMA or "kind" not in entry:
            raise UsageError(f"{path}:{number}: not an entry of journal schema {SCHEMA}")
        entries.append(entry)
    if not entries:
        raise UsageError(f"{path}: the journal is empty")
    return entries
