"""Journals of several runs put together as one: shards of a matrix, reruns, or just one again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from harness.journal import Entry, read


def merge(sources: Sequence[Path], folder: Path) -> list[Entry]:
    """Return the entries of all journals in the order of their time.

    So the later entry of a cell wins, whatever the order of the sources. An entry that several
    journals hold, because one was made from another, is there once.

    Args:
        sources: results folders or journals.
        folder: where the report goes: paths of evidence are made relative to it.

    Raises:
        UsageError: when a source has no journal, or one that cannot be read.
    """
    entries: dict[str, Entry] = {}
    for source in sources:
        home = (source if source.is_dir() else source.parent).resolve()
        for entry in read(source):
            entries.setdefault(_identity(entry), _moved(entry, home, folder.resolve()))
    return sorted(entries.values(), key=lambda entry: entry["at"])


def _identity(entry: Entry) -> str:
    """Return what is the same in all copies of an entry: all but the paths."""
    return json.dumps({**entry, "evidence": None, "log": None}, sort_keys=True)


def _moved(entry: Entry, old: Path, new: Path) -> Entry:
    if old == new:
        return entry
    moved = dict(entry)
    if entry.get("evidence"):
        moved["evidence"] = {
            kind: os.path.relpath(old / path, new) for kind, path in entry["evidence"].items()
        }
    if entry.get("log"):
        moved["log"] = os.path.relpath(old / entry["log"], new)
    return moved


def write_journal(entries: Sequence[Entry], folder: Path) -> None:
    """Write entries as a journal, so that a merged report is a source like any other."""
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    unfinished = folder / ".journal.tmp"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(folder / "journal.jsonl")
