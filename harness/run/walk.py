"""The fixed-database walk: one database through every service, and what it proves at each stage.

A stage: fingerprint; start the service and migrate as an operator would; compare fingerprints;
compare the schema with a fresh install's; check the contract; run every client; read what earlier
stages wrote; start the previous service on the new schema for the verdict on rollback.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import psycopg2

from harness.catalog.releases import Client, Service
from harness.client.cell import CellOutcome, not_run
from harness.client.reading import WrittenRun
from harness.core.entries import StageEntry, now
from harness.core.outcome import ROLLBACK, CheckOutcome, Status
from harness.core.path import Step, service_before
from harness.core.plan import Cell, planned_stage
from harness.core.provenance import short
from harness.machine.errors import (
    HarnessError,
    InfraError,
    naming_machine,
    naming_shortage,
    one_line,
)
from harness.proof import contract, fingerprint, rollback, schema
from harness.report.summary import unsafe_sentence
from harness.run.judged import judge_migration
from harness.run.rereads import read_by_others, runs_by_client
from harness.run.run import Run
from harness.run.saved_stage import SavedStages, Seen, why_unsaved
from harness.run.unit import OneStack, Unit
from harness.run.walked_database import MoveError, WalkedDatabase
from harness.run.walked_schema import WalkedSchema
from harness.stack.backend import Backend
from harness.stack.database.rows import schema_version, server_version
from harness.stack.database.server import Database
from harness.stack.evidence import blaming
from harness.stack.service.identity import identified_version, identity_notes
from harness.stack.service.launcher import RunningService, ServiceError
from harness.stack.service.migration import (
    Migration,
    await_ready,
    bring_up,
    start_on_newer,
)
from harness.stack.stacks import Last, Stack, Stacks


class Walk:
    """One walk.

    Args:
        run: whose options, results and cells these are.
        backend: where database and services come from.
        stacks: where what is started is stopped.
        pythons: each prepared client with its interpreter, oldest first.
        name: which of the run's walks it is; its cells are those of this walk.
    """

    def __init__(
        self,
        run: Run,
        backend: Backend,
        stacks: Stacks,
        pythons: Mapping[Client, Path],
        name: str = "",
    ) -> None:
        self._run = run
        self._contracts = run.contracts
        self._backend = backend
        self._stacks = stacks
        self._pythons = dict(pythons)
        self._name = name
        first = next((cell for cell in run.plan.cells if cell.walk == name), None)
        self._point = first.point if first else None
        self._walked = WalkedDatabase(run, backend, stacks, self._point)
        self._logs = run.folder.service_logs
        self._saved = SavedStages(run.folder, name, self._data(), run.options, run.screen.say)
        self._written: list[WrittenRun] = []
        self._left: fingerprint.Fingerprint | None = None
        self._observed = contract.Observed("", {})
        self._schema = WalkedSchema(run, self._walked, self._started)

    def go(self, path: Sequence[Step]) -> None:
        """Walk the path; every stage and cell is in the journal when this returns."""
        for step in path:
            self._run.screen.say(str(step))
        try:
            with naming_machine():
                self._prepare(path)
        except InfraError as error:
            cells = [cell for step in path for cell in self._cells(step)]
            # One by one, for a planned cell without an entry counts as never run.
            self._run.skip(cells, Status.INFRA, str(error))
            raise
        done = self._run.done.get(self._name, 0)
        last = path[done - 1].service if done else None
        for step in path[done:]:
            if not self._stage(step, service_before(path, step.number)):
                rest = [cell for later in path[step.number :] for cell in self._cells(later)]
                self._run.skip(rest, Status.NOT_RUN, f"the walk ended at stage {step.number}")
                break
            last = step.service
            self._stacks.last = Last(last, self._walked.server, self._walked.there, None)
        if last is not None and self._run.options.keep and self._backend.outlives:
            self._leave(last)

    def _prepare(self, path: Sequence[Step]) -> None:
        self._backend.launcher.prepare(tuple(step.service for step in path))
        done = self._run.done.get(self._name, 0)
        database = self._walked.make(path[max(done, 1) - 1])
        if self._backend.existing is not None:
            self._schema.found = schema.describe(database.address)
        elif done:
            self._go_on(database)

    def _go_on(self, database: Database) -> None:
        """Make everything what it was when the last stage that is done came to its end."""
        done, cells = self._run.done[self._name], self._run.whole.cells
        programs = self._walked.server.programs
        seen = self._saved.load(done, database.address, cells, programs)
        self._written, self._left, self._observed = [*seen.written], seen.left, seen.observed
        self._run.screen.say(f"the walk goes on behind stage {done}")

    def _save(self, step: Step, database: Database) -> bool:
        """Save a stage that is done, for a walk that is cut short; return whether it is."""
        if step == self._run.plan.path[-1] or self._left is None:
            return False
        seen = Seen(self._written, self._left, self._observed)
        programs = self._walked.server.programs
        return self._saved.save(step.number, database.address, seen, programs)

    def _leave(self, service: Service) -> None:
        """Start the last service once more, to stay when the run has ended."""
        log = self._logs / f"kept-{service.name}.log"
        running = self._start(service, self._walked.there, log)
        self._stacks.adopt(running)
        await_ready(running)
        self._stacks.last = Last(service, self._walked.server, self._walked.there, running)

    def _start(self, service: Service, database: Database, log: Path) -> RunningService:
        scenario = self._point.scenario if self._point else ""
        return self._backend.launcher.start(service, database, log, scenario)

    def _stage(self, step: Step, previous: Service | None) -> bool:
        """Go through one stage; return whether the walk goes on."""
        started = time.monotonic()
        planned = msgspec.structs.asdict(planned_stage(step, self._name))
        stage = StageEntry(at=now(), run=self._run.folder.run, **planned)
        failed, migrated = self._tried(stage, step, previous)
        try:
            self._measure(stage, self._walked.there, failed)
        except psycopg2.Error as error:
            said = f"the database does not answer any more: {one_line(error)}"
            stage.problems.append(naming_shortage(said))
            failed = Status.INFRA
        if failed is Status.EXPECTED_FAIL and stage.lost:
            failed = Status.FAIL  # a failure is declared, no loss
        if failed is not Status.PASS:
            self._leave_out(step, stage, failed)
        elif stage.lost or stage.problems:
            failed = Status.FAIL
        else:
            failed = self._note_success(stage, step, previous)
            if failed is Status.PASS and stage.known:
                failed = Status.EXPECTED_FAIL
        stage.status = failed
        stage.at = now()
        stage.seconds = round(time.monotonic() - started, 2)
        stops = not migrated and failed is Status.FAIL and self._run.options.on_failure == "stop"
        # What broke here would break the next stage, too, and be put down to its service.
        goes_on = failed is not Status.INFRA and self._walked.is_at(step) and not stops
        saved = goes_on and self._save(step, self._walked.there)
        self._run.screen.stage(self._run.record.add(stage))
        # Not before: until the journal has the stage, the walk goes on behind the one before.
        if saved:
            self._saved.forget_before(step.number)
        return goes_on

    def _tried(
        self, stage: StageEntry, step: Step, previous: Service | None
    ) -> tuple[Status, bool]:
        """Go through a stage; return how far that went well, and whether it could migrate."""
        try:
            with naming_machine():
                self._through(stage, step, previous)
        except ServiceError as error:
            # Known only when it is migrated; afterwards nothing declared of migrations holds.
            if stage.schema_after is None:
                return self._note_failure(stage, step, previous, error), False
            stage.problems.append(str(error))
            return Status.FAIL, True
        except (HarnessError, psycopg2.Error) as error:
            stage.problems.append(naming_shortage(str(error)))
            return (Status.FAIL if isinstance(error, MoveError) else Status.INFRA), True
        return Status.PASS, True

    def _note_success(self, stage: StageEntry, step: Step, previous: Service | None) -> Status:
        """Note what is wrong with a migration that went well: it may be declared to fail."""
        judged = judge_migration(
            self._run.options.expectations, CheckOutcome(Status.PASS), step.service, previous
        )
        if judged.status is not Status.PASS:
            stage.problems.append(judged.reason)
        return judged.status

    def _note_failure(
        self, stage: StageEntry, step: Step, previous: Service | None, error: ServiceError
    ) -> Status:
        """Note that the database could not be migrated; return the status of the stage."""
        outcome = CheckOutcome(Status.FAIL, str(error))
        judged = judge_migration(self._run.options.expectations, outcome, step.service, previous)
        known = judged.status is Status.EXPECTED_FAIL
        (stage.known if known else stage.problems).append(judged.reason)
        return judged.status

    def _measure(self, stage: StageEntry, database: Database, failed: Status) -> None:
        """Note how the stage leaves the database."""
        if failed is not Status.PASS:
            stage.lost += self._losses_since_last_stage("by the failed migration", database)
        stage.schema_after = schema_version(database.address)
        self._left = fingerprint.take(database.address)
        stage.rows = sum(self._left.counts.values())

    def _through(self, stage: StageEntry, step: Step, previous: Service | None) -> None:
        database = self._walked.there
        stage.schema_before = schema_version(database.address)
        stage.lost += self._losses_since_last_stage("between the stages", database)
        before = fingerprint.take(database.address)
        stage.carried = sum(before.counts.values())
        if step.moved:
            database = self._walked.move(step)
            moved = fingerprint.compare(before, database.address)
            stage.lost += [f"by the move to PostgreSQL {step.postgres}: {loss}" for loss in moved]
            before = fingerprint.take(database.address)
        started = self._started(step.service, database, step.number)
        with started as running, blaming(running, database.address):
            stage.log = str(running.log.relative_to(self._run.folder.path))
            migration = (
                start_on_newer(running)
                if step.downgrade
                else bring_up(running, self._run.options.migration_timeout)
            )
            self._note_migration(stage, migration)
            stage.schema_after = schema_version(database.address)
            migrated = fingerprint.compare(before, database.address)
            stage.lost += [f"by the migration: {loss}" for loss in migrated]
            stage.problems += self._schema.problems(step, database)
            stage.reported = identified_version(running, stage.schema_after or 0)
            if not step.rollback:  # after one the schema is the newer service's, as it should be
                for note in identity_notes(running, stage.reported, stage.schema_after or 0):
                    self._run.record.note(step.service.name, note)
            stack = Stack(
                running,
                database,
                migration,
                stage.reported,
                stage.schema_after or 0,
                server_version(database.address),
                self._walked.server,
            )
            self._check_contract(stage, step, stack)
            with self._watched(stage, step, stack) as watched:
                self._run_clients(stage, step, watched)
                self._read_by_others(stage, step, watched)
                watched.look()
            served = fingerprint.take(database.address)
        stopped = fingerprint.compare(served, database.address)
        stage.lost += [f"when the service stopped: {loss}" for loss in stopped]
        # On a schema that did not change the older image finds what it brings itself.
        if previous is not None and stage.schema_after != stage.schema_before:
            self._judge_rollback(stage, step, previous, database)
        # Compared once more, because clients and the rollback were at work meanwhile.
        in_use = [
            one
            for one in fingerprint.compare(before, database.address)
            if one not in (*migrated, *stopped)
        ]
        stage.lost += [f"while the service was in use: {loss}" for loss in in_use]

    @contextmanager
    def _started(
        self, service: Service, database: Database, number: int, suffix: str = ""
    ) -> Iterator[RunningService]:
        log = self._logs / f"{self._walk_prefix}{number:02d}-{service.slug}{suffix}.log"
        running = self._start(service, database, log)
        try:
            yield running
        finally:
            running.stop()

    @property
    def _walk_prefix(self) -> str:
        """What the names of files of this walk begin with, where the run may have several."""
        return f"{self._name.replace('/', '-')}-" if self._name else ""

    @staticmethod
    def _note_migration(stage: StageEntry, migration: Migration) -> None:
        stage.migrations = list(migration.applied)
        stage.migration_seconds = migration.seconds
        stage.migration_output = migration.output
        stage.migration_status = {
            "before": migration.before.raw if migration.before else None,
            "after": migration.after.raw if migration.after else None,
        }

    def _losses_since_last_stage(self, when: str, database: Database) -> list[str]:
        if self._left is None:
            return []
        losses = fingerprint.compare(self._left, database.address)
        return [f"{when}: {loss}" for loss in losses]

    def _check_contract(self, stage: StageEntry, step: Step, stack: Stack) -> None:
        # A database that was walked before has the flows of that walk.
        flow = self._contracts.flow(f"ContractStage{step.number}")
        found = contract.exercise(stack.running.url, stack.address, flow)
        wrong, known = self._contracts.declared(found, step.service, self._point)
        stage.problems += wrong
        stage.known += known
        stage.problems += contract.undeclared(found, step.service, stack.schema)
        observed = contract.Observed(step.service.name, found.observations)
        stage.problems += contract.differences(self._observed, observed)
        if found.complete:  # what a refused write leaves unasked is no behaviour to compare with
            self._observed = observed
            stage.observed = dict(found.observations)

    def _cells(self, step: Step) -> tuple[Cell, ...]:
        return self._run.plan.of_stage(self._name, step.number, self._pythons)

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
        again = runs_by_client(self._written)
        units = []
        for cell in self._cells(step):
            # The first cell of a client reads its earlier runs again, for all of its cells.
            earlier = tuple(again.pop((cell.client, cell.datastore), ()))
            data, python = self._data(cell.datastore), self._pythons[cell.client]
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
                    self._written,
                    step=step,
                    stage=stage,
                    data=self._data(),
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
            self._written.append(outcome.written)
        stage.rereads += outcome.rereads
        stage.problems += outcome.reread_problems
        if outcome.status is Status.INFRA and outcome.reread_problems:
            raise InfraError(f"the earlier runs cannot be read any more: {outcome.cell.id}")

    def _data(self, datastore: str = "") -> Path:
        """Return the one folder of the walk's data: what a stage wrote, later ones read."""
        # Walks of one run have databases of their own, and may number their runs alike.
        own = short(self._name.replace("/", "-"))
        return self._run.folder.work / "data" / own / datastore

    def _judge_rollback(
        self, stage: StageEntry, step: Step, previous: Service, database: Database
    ) -> None:
        runs = [(run.cell.probe.flow, run.run_id) for run in self._written]
        # The service of this stage is stopped by now: an operator swaps one for the other.
        with self._started(previous, database, step.number, "-rollback") as running:
            verdict = rollback.verdict(
                running,
                database.address,
                runs,
                # What is declared and does not fail says nothing of a way back.
                lambda found: self._contracts.declared(
                    replace(found, complete=False), previous, self._point
                )[0],
            )
        stage.rollback = "safe" if verdict.safe else "unsafe"
        stage.rollback_evidence = [f"{previous.name}: {line}" for line in verdict.evidence]
        if not verdict.safe and ROLLBACK in (self._run.options.gates or ()):
            # As a problem of the stage it is red in every report, and nothing declares it away.
            stage.problems.append(unsafe_sentence(stage))

    def _leave_out(self, step: Step, stage: StageEntry, failed: Status) -> None:
        """Record the cells of a stage that did not get so far."""
        done = {entry.id for entry in self._run.record.view.finished}
        # The stage itself holds the log's last lines: once is enough.
        said = [*stage.known, *stage.problems][-1].partition("; last lines")[0]
        status = Status.NOT_RUN if failed is Status.FAIL else failed
        for cell in self._cells(step):
            if cell.id not in done:
                why = f"stage {step.number} failed: {said}"
                self._run.record_cell(not_run(cell, status, why))


def walk(run: Run, pythons: Mapping[Client, Path]) -> None:
    """Walk the run's path with the prepared clients: one database for each of its walks.

    Args:
        run: of ``fixed_db``.
        pythons: each prepared client with its interpreter.
    """
    backend, stacks = run.services()
    if unsaved := why_unsaved(run.options):
        # Now, and not when hours of work are lost.
        run.screen.say(f"--resume: {unsaved}")
    # The oldest and the newest client, who read what all others wrote, are found at the ends.
    in_order = dict(sorted(pythons.items(), key=lambda item: item[0].version))
    for name in run.plan.walks:
        Walk(run, backend, stacks, in_order, name).go(run.plan.path)
