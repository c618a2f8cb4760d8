"""What ``--strategy boundaries`` knows before it runs anything, and what it infers in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.core.entries import CellEntry, now
from harness.core.gridsearch import Cells, Inference, words_of
from harness.core.hints import Hints, declared, seen, supported
from harness.core.outcome import cell_status
from harness.core.plan import Plan
from harness.run.judged import judge_checks, otherwise
from harness.run.options import Options
from harness.run.record import Record

_RUNS = 5
"""Of the newest runs: older ones tell of other code, and take time to read."""

_CELL = msgspec.json.Decoder(CellEntry)


class Known:
    """Where boundaries may be, by what is declared and by what earlier runs saw.

    Args:
        options: of the run, whose results folder holds earlier ones.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._told: dict[str, CellEntry] = {}
        found = sorted(options.results.glob(f"*-{options.session}-*/journal.jsonl"), reverse=True)
        for journal in found[:_RUNS]:
            for entry in _cells(journal):
                self._told.setdefault(entry.id, entry)

    def hints(self, cells: Cells) -> Hints:
        """Return what is tried early in a grid."""
        checks = [check.name for check in cells[0, 0].checks]
        told = {
            place: words_of(self._told[cell.id], checks)
            for place, cell in cells.items()
            if cell.id in self._told
        }
        return seen(told) | declared(cells, self._options.expectations) | supported(cells)


def _cells(journal: Path) -> Iterator[CellEntry]:
    """Yield the cells of a journal that ran; as far as it can be read, for they are but hints."""
    try:
        lines = journal.read_bytes().split(b"\n")[:-1]
    except OSError:
        return
    for line in lines:
        if b'"kind":"cell"' in line:
            try:
                entry = _CELL.decode(line)
            except msgspec.DecodeError:
                return
            if entry.inferred is None:
                yield entry


def record_inferred(record: Record, plan: Plan, options: Options, one: Inference) -> CellEntry:
    """Write down what a cell is inferred to be, judged by what is declared of it."""
    checks = judge_checks(options.expectations, one.cell, one.checks)
    return record.add(
        CellEntry(
            **msgspec.structs.asdict(plan.planned(one.cell)),
            at=now(),
            run=record.run,
            status=cell_status(checks),
            checks=checks,
            undeclared=otherwise(one.checks, checks),
            inferred=one.inferred,
        )
    )
