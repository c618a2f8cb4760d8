"""Services of the same code: a cell is run with one of them, and told for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from harness.catalog.releases import Service
from harness.core.entries import CellEntry, Reused
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell, Plan, asked_of
from harness.core.provenance import with_key


def share(
    cells: Iterable[Cell], code_of: Callable[[Service], str]
) -> tuple[list[Cell], dict[str, list[Cell]]]:
    """Tell the cells that have to be run from those that would run the very same.

    Args:
        cells: to be run.
        code_of: returns what tells the code of a service, the version it reports included, from
            any other; empty where nobody knows.

    Returns:
        What has to be run, in order, and by the id of such a cell those it is told for.
    """
    first: dict[object, Cell] = {}
    left: list[Cell] = []
    others: dict[str, list[Cell]] = {}
    for cell in cells:
        code = code_of(cell.service) if cell.service is not None else ""
        same = first.setdefault((code, *_but_the_name(cell)), cell) if code else cell
        if same is cell:
            left.append(cell)
        else:
            others.setdefault(same.id, []).append(cell)
    return left, others


def _but_the_name(cell: Cell) -> tuple[object, ...]:
    """Return all that decides a cell but which service it is."""
    point = msgspec.structs.replace(cell.point, service=None, build="")
    # An image may be tagged as a release that it is not: who runs it finds out.
    known = (cell.service.reported, cell.service.schema) if cell.service else ()
    # Some checks go by the release, whatever it reports.
    return point, cell.probe.name, cell.probe.digest, cell.stage, cell.supported, known


def told_with(entry: CellEntry, cell: Cell, plan: Plan) -> CellEntry:
    """Return what came of a cell as the result of another, whose service is of the same code.

    Args:
        entry: of the one that ran.
        cell: the other.
        plan: that has it.
    """
    checks = entry.checks | entry.undeclared
    for check in cell.checks:
        if checks[check.name].status is Status.UNSUPPORTED and (why := cell.unsupported(check)):
            checks[check.name] = CheckOutcome(Status.UNSUPPORTED, why)
    return msgspec.structs.replace(
        entry,
        checks=checks,
        provenance=with_key(
            msgspec.structs.replace(entry.provenance, asked=asked_of(cell)), plan.planned(cell)
        ),
        reused=Reused(run=entry.run, at=entry.at, service=entry.service or ""),
        # The service it ran with has its run.
        ended={},
    )
