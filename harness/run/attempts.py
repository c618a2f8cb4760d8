"""The attempts at the cells of a run: queued in its one executor, told as each ends.

Who queues cells need not wait for them: those of the next client are on their way while the session
of the one before waits for its own.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar
from weakref import WeakSet

from harness.client.cell import CellOutcome
from harness.core.entries import CellEntry
from harness.core.plan import Cell, conclusive
from harness.run.clients import Clients
from harness.run.executor import LAST, Executor
from harness.run.record import Record
from harness.run.unit import StackSource, Unit, execute

Came = TypeVar("Came")


class Batch(Generic[Came]):
    """Cells that were queued together: those of a client, or of a stage.

    Args:
        count: how many times something is told of them.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._outcomes: list[Came] = []
        self._all: Future[list[Came]] = Future()
        self._end()

    def tell(self, *outcomes: Came) -> None:
        """Take what came of one in the end; of a unit that is done elsewhere, of all its cells."""
        self._outcomes += outcomes
        self._count -= 1
        self._end()

    def fail(self, error: BaseException) -> None:
        """Take what keeps one from coming to an end; the first of these is raised."""
        with suppress(InvalidStateError):
            self._all.set_exception(error)

    def _end(self) -> None:
        if not self.left:
            with suppress(InvalidStateError):
                self._all.set_result(self._outcomes)

    @property
    def left(self) -> int:
        """How many have not come to an end."""
        return self._count

    @property
    def done(self) -> bool:
        """Whether nothing of it is on its way any more, or something went wrong."""
        return self._all.done()

    def when_done(self, tell: Callable[[], None]) -> None:
        """Call something when nothing of it is on its way any more, or something went wrong."""
        self._all.add_done_callback(lambda _: tell())

    def outcomes(self) -> list[Came]:
        """Wait for all of them; return what came of each, in the order in which they ended."""
        return self._all.result()


Begun = Batch[CellOutcome] | Batch[CellEntry]
"""Cells that were queued here, or that a cluster does."""


@dataclass(frozen=True)
class _Due:
    """An attempt that is due.

    Attributes:
        unit: what to run.
        stacks: where its stack is had; None where clients run alone.
        batch: who is told.
        more: how often the cell runs again after it.
        retries: how often it may be done again where the machine breaks it.
    """

    unit: Unit
    stacks: StackSource | None
    batch: Batch[CellOutcome]
    more: int
    retries: int


class Attempts:
    """Runs cells as often as is asked for, and again where the machine broke them.

    Args:
        executor: of the run.
        clients: of the run.
        record: of the run; a run that goes on has attempts in it.
        retries: how often a cell that the machine broke is done again.
        tell: called with each outcome as it ends, one after the other.
        seconds: returns how long a cell is going to take; None where nobody knows.
    """

    def __init__(
        self,
        executor: Executor,
        clients: Clients,
        record: Record,
        *,
        retries: int,
        tell: Callable[[CellOutcome], None],
        seconds: Callable[[Cell], float] | None,
    ) -> None:
        self._executor = executor
        self._clients = clients
        self._record = record
        self._retries = retries
        self._tell = tell
        self._seconds = seconds
        before = list(record.view.attempts)
        self._told = conclusive(before)
        self._made = Counter(attempt.id for attempt in before)
        self._begun: Counter[str] = Counter()
        # What came of cells is kept no longer than somebody waits for it: there may be 50,000.
        self._batches: WeakSet[Batch[CellOutcome]] = WeakSet()
        # One after the other: each line says how many have finished.
        self._lock = threading.RLock()

    def told(self, name: str, count: int) -> None:
        """Take it that attempts at a cell, by its id, have told something elsewhere."""
        self._told[name] = max(count, self._told[name])

    @property
    def busy(self) -> bool:
        """Whether cells are on their way, also such as nobody waits for any more."""
        return any(batch.left for batch in self._batches)

    def submit(
        self, units: Iterable[Unit], stacks: StackSource | None, repeat: int | None = None
    ) -> Batch[CellOutcome]:
        """Queue cells; each begins as soon as a thread is free, the longest first.

        Args:
            units: what to run.
            stacks: where their stacks are had; None where clients run alone.
            repeat: how often each is to have run, attempts before this one counted; None for once
                more, whatever was before.
        """
        turns = [
            (unit, 1 if repeat is None else repeat - self._told[unit.cell.id]) for unit in units
        ]
        due = [(unit, left) for unit, left in turns if left > 0]
        batch: Batch[CellOutcome] = Batch(sum(left for _, left in due))
        self._batches.add(batch)
        # In this order: the first of them begins before the second is queued.
        for unit, left in sorted(due, key=lambda one: self._rank(one[0].cell)):
            self._queue(_Due(unit, stacks, batch, left - 1, self._retries), self._rank(unit.cell))
        return batch

    def _rank(self, cell: Cell) -> float:
        """Return the place of a cell among others: what takes about as long keeps their order.

        So the clients of a run follow each other, and no long cell is left for its end.
        """
        if self._seconds is None:
            return 0.0
        _, exponent = math.frexp(self._seconds(cell))
        return float(-exponent)

    def _queue(self, due: _Due, rank: float) -> None:
        self._executor.queue(partial(self._do, due), rank)

    def _do(self, due: _Due) -> None:
        try:
            self._attempt(due)
        except BaseException as error:  # noqa: BLE001 - raised where the batch is waited for
            due.batch.fail(error)

    def _attempt(self, due: _Due) -> None:
        unit = replace(due.unit, attempt=self._number(due.unit.cell))
        outcome = execute(unit, self._clients, due.stacks)
        # Then it tells of the end, and not of the cell.
        self._executor.check_not_cancelled()
        with self._lock:
            self._tell(outcome)
            if outcome.was_broken and due.retries:
                self._note_again(outcome)
                # When all else is done: what broke it may be over by then.
                self._queue(replace(due, retries=due.retries - 1), LAST)
                return
            due.batch.tell(outcome)
            if due.more:
                # Not before: at the same time attempts could be in each other's way.
                again = replace(due, more=due.more - 1, retries=self._retries)
                self._queue(again, self._rank(unit.cell))

    def _number(self, cell: Cell) -> int:
        """Return a number for an attempt at a cell that none had: its folders are named by it."""
        with self._lock:
            self._begun[cell.id] += 1
            # A kill may have left an attempt without an entry, and its folders and objects.
            resumed = self._record.view.resumptions[self._record.run]
            return self._made[cell.id] + resumed + self._begun[cell.id]

    def _note_again(self, outcome: CellOutcome) -> None:
        """Note that a cell is done again, which the machine broke."""
        cell = outcome.cell
        why = next(check.reason for check in outcome.checks.values() if check.reason)
        said = f"{cell.id} was done again: {why.splitlines()[0]}"
        self._record.note(cell.service.name if cell.service else cell.session, said)
