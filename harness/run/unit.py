"""A unit of work: what of a run can be done elsewhere, and doing it.

A unit is a value that can be pickled, and so is what comes of it. What lives, the stack above all,
is acquired where the unit is executed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from harness.catalog.releases import Client, Service
from harness.client.cell import CellOutcome, not_run
from harness.client.reading import EarlierRun
from harness.core.axes import Point
from harness.core.blame import blame
from harness.core.outcome import Status
from harness.core.plan import Cell
from harness.machine.errors import InfraError, naming_machine
from harness.run.clients import Clients
from harness.stack.evidence import blaming, with_silence
from harness.stack.service.launcher import ServiceError
from harness.stack.service.migration import await_ready
from harness.stack.stacks import Stack


@dataclass(frozen=True)
class Unit:
    """A cell, and what it needs beside its stack.

    Attributes:
        python: the client's interpreter.
        others: those of other clients that have a role in the cell, by the client.
        data: folder of the datastore; None for one of the cell's own.
        earlier: runs of earlier stages the client reads again.
        attempt: number of the attempt at the cell in this run, from 1.
    """

    cell: Cell
    python: Path
    data: Path | None = None
    earlier: tuple[EarlierRun, ...] = ()
    attempt: int = 1
    others: Mapping[Client, Path] = field(default_factory=dict)


class StackSource(Protocol):
    """Where the stacks of cells are had: those of ``compat``, or the one of a walk's stage."""

    def get(self, service: Service, point: Point) -> Stack:
        """Return the stack of a cell.

        Raises:
            InfraError: when it does not start.
            ServiceError: when its service ends by itself, or cannot bring its schema up to date.
        """


class OneStack:
    """The stack of a walk's stage, for every cell: what dies of it is started again on its data.

    Args:
        stack: which is up.

    Attributes:
        problems: what its service did by itself: it ended.
        repaired: what was started again, and why.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.problems: list[str] = []
        self.repaired: list[str] = []
        self._lock = threading.Lock()

    def get(self, service: Service, point: Point) -> Stack:  # noqa: ARG002 - the one there is
        """Return it, alive."""
        self.look()
        return self.stack

    def look(self) -> None:
        """See that it lives, and start again what has died or answers nothing any more.

        Raises:
            InfraError: when it cannot be started again.
            ServiceError: when the service ends by itself again.
        """
        with self._lock:
            evidence = with_silence(self.stack.evidence(), self.stack.running)
            found = blame(evidence)
            if found is None:
                return
            # First: who is at work on it must not find alive what is started again below.
            self.stack.over.append(evidence)
            self.stack = replace(self.stack, over=[])
            if evidence.database:
                if self.stack.home is None:
                    raise InfraError(found.sentence)
                self.stack.home.revive()
            told = self.problems if found.status is Status.FAIL else self.repaired
            told.append(found.sentence)
            with blaming(self.stack.running, self.stack.address):
                self.stack.running.restart()
                await_ready(self.stack.running)


def execute(unit: Unit, clients: Clients, stacks: StackSource | None) -> CellOutcome:
    """Run a unit's cell on its stack, which is started here when it is the first to ask.

    Args:
        unit: what to run.
        clients: of the run.
        stacks: where its stack is had; None where clients run alone.
    """
    cell = unit.cell
    if cell.refused:
        return not_run(cell, Status.UNSUPPORTED, cell.refused)
    try:
        with naming_machine():
            stack = stacks.get(cell.service, cell.point) if stacks and cell.service else None
    except InfraError as error:
        return not_run(cell, Status.INFRA, str(error))
    except ServiceError as error:
        return not_run(cell, Status.FAIL, str(error))
    return clients.cell(
        cell,
        unit.python,
        stack,
        data=unit.data,
        earlier=unit.earlier,
        attempt=unit.attempt,
        others=unit.others,
    )
