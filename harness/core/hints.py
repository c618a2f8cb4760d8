"""Where in a grid of clients × services something may change, by what is known before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.core.boundaries import Place, Words
from harness.core.expectations import Expectation
from harness.core.plan import Cell


@dataclass(frozen=True)
class Hints:
    """What is tried early.

    Attributes:
        rows: rows whose outcomes may be other than those of the row before.
        columns: likewise columns.
        early: places that run in any case.
    """

    rows: frozenset[int] = frozenset()
    columns: frozenset[int] = frozenset()
    early: frozenset[Place] = frozenset()

    def __or__(self, other: Hints) -> Hints:
        """Return what both say."""
        return Hints(self.rows | other.rows, self.columns | other.columns, self.early | other.early)


def declared(cells: Mapping[Place, Cell], expectations: Iterable[Expectation]) -> Hints:
    """Return where ranges of declared failures begin and end; the first cell of each runs early.

    Args:
        cells: of the grid, by place.
        expectations: what is declared.
    """
    clients, services = _axes(cells)
    any_cell = cells[0, 0]
    names = {check.name for check in any_cell.checks}
    hints = Hints()
    for one in expectations:
        probe, _, check = one.check.rpartition("/")
        if one.before or one.ui or check not in names or probe not in {"", any_cell.probe.name}:
            continue
        rows = [one.client.holds(cell.client.version) for cell in clients]
        columns = [
            cell.service is not None and one.service.holds(cell.service.version, cell.service.kind)
            for cell in services
        ]
        if any(rows) and any(columns):
            first = frozenset({(rows.index(True), columns.index(True))})
            hints |= Hints(_changes(rows), _changes(columns), first)
    return hints


def supported(cells: Mapping[Place, Cell]) -> Hints:
    """Return where clients and services begin and cease to support a check, as it is declared."""
    clients, services = _axes(cells)
    rows, columns = (
        [[bool(cell.unsupported(check)) for check in cell.checks] for cell in axis]
        for axis in (clients, services)
    )
    return Hints(_changes(rows), _changes(columns))


def seen(told: Mapping[Place, Words]) -> Hints:
    """Return where an earlier run saw neighbours differ; one such pair runs early for each place.

    Args:
        told: what came of its cells.
    """
    hints = Hints()
    for (row, column), words in sorted(told.items()):
        before = (row - 1, column)
        if row not in hints.rows and before in told and told[before] != words:
            hints |= Hints(rows=frozenset({row}), early=frozenset({before, (row, column)}))
        before = (row, column - 1)
        if column not in hints.columns and before in told and told[before] != words:
            hints |= Hints(columns=frozenset({column}), early=frozenset({before, (row, column)}))
    return hints


def _axes(cells: Mapping[Place, Cell]) -> tuple[list[Cell], list[Cell]]:
    """Return the cells of the last column and of the last row."""
    last = max(cells)
    clients = [cells[row, last[1]] for row in range(last[0] + 1)]
    return clients, [cells[last[0], column] for column in range(last[1] + 1)]


def _changes(of: Sequence[object]) -> frozenset[int]:
    return frozenset(
        number for number, (old, new) in enumerate(pairwise(of), start=1) if old != new
    )
