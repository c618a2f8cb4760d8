"""Journals of several runs put together as one: shards of a matrix, reruns, or just one again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from harness.core.entries import Begun, CellEntry, Entry, Rerun, StageEntry
from harness.core.journal import E, encode, read


def merge(sources: Sequence[Path], folder: Path) -> list[Entry]:
    """Return the entries of all journals, run by run, in the order in which the runs came.

    A run that repeated cells of others comes after them, whatever the clocks of their machines
    say; others are in the order of their beginnings. So the later entry of a cell wins, whatever
    the order of the sources. An entry that several journals hold, because one was made from
    another, is there once.

    Args:
        sources: results folders or journals.
        folder: where the report goes: paths of evidence are made relative to it.

    Raises:
        UsageError: when a source has no journal, or one that cannot be read.
    """
    by_run: dict[str, dict[bytes, Entry]] = {}
    reruns: dict[bytes, Rerun] = {}
    for source in sources:
        home = (source if source.is_dir() else source.parent).resolve()
        for entry in read(source):
            if isinstance(entry, Rerun):
                reruns.setdefault(encode(entry), entry)
            else:
                own = by_run.setdefault(entry.run, {})
                # By content: a merged journal given along with its sources must not double them.
                own.setdefault(_identity(entry), moved(entry, home, folder.resolve()))
    rank = _ranks(by_run, reruns.values())
    in_order = sorted(by_run, key=rank.__getitem__)
    merged: list[Entry] = [entry for run in in_order for entry in by_run[run].values()]
    return [*merged, *sorted(reruns.values(), key=lambda entry: entry.at)]


def _ranks(
    by_run: dict[str, dict[bytes, Entry]], reruns: Iterable[Rerun]
) -> dict[str, tuple[int, datetime, str]]:
    """Return by run what they are ordered by: how often repeated, when begun, and the id."""
    generation = dict.fromkeys(by_run, 0)
    for rerun in sorted(reruns, key=lambda entry: entry.at):
        after = max((generation.get(run, 0) for run in rerun.of), default=0) + 1
        generation |= {run: max(after, generation.get(run, 0)) for run in rerun.runs}
    begun = {
        run: next(entry.at for entry in entries.values() if isinstance(entry, Begun))
        for run, entries in by_run.items()
    }
    return {run: (generation[run], begun[run], run) for run in by_run}


def _identity(entry: Entry) -> bytes:
    """Return what is the same in all copies of an entry: all but the paths."""
    if isinstance(entry, CellEntry):
        return encode(msgspec.structs.replace(entry, evidence={}))
    if isinstance(entry, StageEntry):
        return encode(msgspec.structs.replace(entry, log=""))
    return encode(entry)


def moved(entry: E, old: Path, new: Path) -> E:
    """Return an entry with its paths, which started from one folder, as they start from another."""
    if old == new:
        return entry
    if isinstance(entry, CellEntry) and entry.evidence:
        paths = {kind: os.path.relpath(old / path, new) for kind, path in entry.evidence.items()}
        return msgspec.structs.replace(entry, evidence=paths)
    if isinstance(entry, StageEntry) and entry.log:
        return msgspec.structs.replace(entry, log=os.path.relpath(old / entry.log, new))
    return entry


def write_journal(entries: Sequence[Entry], folder: Path) -> None:
    """Write entries as a journal, so that a merged report is a source like any other."""
    unfinished = folder / ".journal.tmp"
    unfinished.touch(mode=0o600)
    unfinished.write_bytes(b"".join(map(encode, entries)))
    # In one step, because the journal of this folder may be a source of it.
    unfinished.replace(folder / "journal.jsonl")
