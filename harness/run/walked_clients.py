"""What clients do at the stages of a walk: run their cells, and read what was written before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.catalog.releases import Client
from harness.client.cell import CellOutcome, not_run
from harness.client.reading import WrittenRun
from harness.core.entries import StageEntry
from harness.core.outcome import Status
from harness.core.path import Step
from harness.core.plan import Cell
from harness.core.provenance import short
from harness.machine.errors import InfraError, one_line
from harness.run.rereads import read_by_others, runs_by_client
from harness.run.run import Run
from harness.run.unit import OneStack, Unit
from harness.stack.stacks import Stack


class WalkedClients:
    """The clients of a walk.

    Args:
        run: of the walk.
        pythons: each prepared client with its interpreter, oldest first.
        name: which of the run's walks it is.

    Attributes:
        written: every run so far.
    """

    def __init__(self, run: Run, pythons: Mapping[Client, Path], name: str) -> None:
        self._run = run
        self._pythons = dict(pythons)
        self._name = name
        self.written: list[WrittenRun] = []

    def data(self, datastore: str = "") -> Path:
        """Return the one folder of the walk's data: what a stage wrote, later ones read."""
        # Walks of one run have databases of their own, and may number their runs alike.
        own = short(self._name.replace("/", "-"))
        return self._run.folder.work / "data" / own / datastore

    def cells(self, step: Step) -> tuple[Cell, ...]:
        """Return those of a stage."""
        return self._run.plan.of_stage(self._name, step.number, self._pythons)

    def go(self, stage: StageEntry, step: Step, stack: Stack) -> None:
        """Let every client run its cells at a stage, and read what earlier ones wrote.

        Args:
            stage: where it is noted what came of it.
            step: the stage.
            stack: of the stage; what dies of it is started again on its data.

        Raises:
            InfraError: when that cannot be, or dies again.
            ServiceError: when the service ended by itself while nobody ran a cell.
        """
        with self._watched(stage, step, stack) as watched:
            self._run_clients(stage, step, watched)
            self._read_by_others(stage, step, watched)
            watched.look()

    @contextmanager
    def _watched(self, stage: StageEntry, step: Step, stack: Stack) -> Iterator[OneStack]:
        """Yield a stage's stack, whose parts are started again; note what became of them."""
        watched = OneStack(stack)
        try:
            yield watched
        finally:
            stage.problems += watched.problems
            for why in watched.repaired:
                said = f"{step.service.name}: stage {step.number}: {why}; it was started again"
                self._run.record.note(step.service.name, said)

    def _run_clients(self, stage: StageEntry, step: Step, stack: OneStack) -> None:
        again = runs_by_client(self.written)
        units = []
        for cell in self.cells(step):
            # The first cell of a client reads its earlier runs again, for all of its cells.
            earlier = tuple(again.pop((cell.client, cell.datastore), ()))
            data, python = self.data(cell.datastore), self._pythons[cell.client]
            units.append(Unit(cell, python, data, earlier))
        for outcome in self._run.execute(units, stack):
            self._note_cell(stage, outcome)

    def _read_by_others(self, stage: StageEntry, step: Step, stack: OneStack) -> None:
        """Let clients read what others wrote, once more where something dies meanwhile."""
        for left in range(self._run.options.retries, -1, -1):
            # They read through a service that lives, whatever the clients did to it.
            stack.look()
            try:
                read_by_others(
                    self._run,
                    self._pythons,
                    stack.stack,
                    self.written,
                    step=step,
                    stage=stage,
                    data=self.data(),
                )
            except InfraError as error:
                self._run.executor.check_not_cancelled()
                if not left:
                    raise
                why = str(error).splitlines()[0]
                said = f"stage {step.number}: earlier runs were read by others once more: {why}"
                self._run.record.note(step.service.name, said)
            else:
                return

    def _note_cell(self, stage: StageEntry, outcome: CellOutcome) -> None:
        if outcome.written is not None:
            self.written.append(outcome.written)
        # Of what is read while the machine breaks nothing is the product's.
        if outcome.status is Status.INFRA and outcome.reread_problems:
            why = one_line(outcome.reread_problems[-1])
            raise InfraError(f"the earlier runs cannot be read any more: {outcome.cell.id}: {why}")
        stage.rereads += outcome.rereads
        stage.problems += outcome.reread_problems

    def counts(self) -> Counter[str]:
        """Return how many entries each cell has."""
        return Counter(one.id for one in self._run.record.view.attempts)

    def leave_out(
        self, step: Step, stage: StageEntry, failed: Status, before: Counter[str]
    ) -> None:
        """Record the cells of a stage that did not get so far: with no more entries than before."""
        done = self.counts() - before
        # The stage itself holds the log's last lines: once is enough.
        said = [*stage.known, *stage.problems][-1].partition("; last lines")[0]
        status = Status.NOT_RUN if failed is Status.FAIL else failed
        for cell in self.cells(step):
            if not done[cell.id]:
                why = f"stage {step.number} failed: {said}"
                self._run.record_cell(not_run(cell, status, why))
