"""The fixed-database walk: one database through every service, and what it proves at each stage.

A stage: fingerprint; start the service and migrate as an operator would; compare fingerprints;
compare the schema with a fresh install's; check the contract; run every client; read what earlier
stages wrote; start the previous service on the new schema for the verdict on rollback.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import psycopg2

from harness.catalog.releases import Client, Service
from harness.core.entries import StageEntry, now
from harness.core.outcome import CheckOutcome, Status
from harness.core.path import Step, service_before
from harness.core.plan import planned_stage
from harness.machine.errors import (
    HarnessError,
    InfraError,
    naming_machine,
    naming_shortage,
    one_line,
)
from harness.proof import contract, fingerprint, schema
from harness.run.judged import judge_migration
from harness.run.run import Run
from harness.run.saved_stage import SavedStages, Seen, why_unsaved
from harness.run.walked_clients import WalkedClients
from harness.run.walked_database import MoveError, WalkedDatabase
from harness.run.walked_rollback import judge_rollback
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

_UNSEEN = contract.Observed("", {})
"""What is observed before any service was asked."""


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
        self._clients = WalkedClients(run, pythons, name)
        self._name = name
        first = next((cell for cell in run.plan.cells if cell.walk == name), None)
        self._point = first.point if first else None
        self._walked = WalkedDatabase(run, backend, stacks, self._point)
        self._logs = run.folder.service_logs
        self._saved = SavedStages(
            run.folder, name, self._clients.data(), run.options, run.screen.say
        )
        self._left: fingerprint.Fingerprint | None = None
        self._observed = _UNSEEN
        self._shown: tuple[list[str], list[str]] = ([], [])
        """What a stage that the machine broke had lost until then, and what was wrong with it."""
        self._is_whole = True
        """Whether the database is as a service left it."""
        self._schema = WalkedSchema(run, self._walked, self._started)

    def go(self, path: Sequence[Step]) -> None:
        """Walk the path; every stage and cell is in the journal when this returns."""
        for step in path:
            self._run.screen.say(str(step))
        try:
            with naming_machine():
                self._prepare(path)
        except InfraError as error:
            cells = [cell for step in path for cell in self._clients.cells(step)]
            # One by one, for a planned cell without an entry counts as never run.
            self._run.skip(cells, Status.INFRA, str(error))
            raise
        done = self._run.done.get(self._name, 0)
        last = path[done - 1].service if done else None
        for step in path[done:]:
            if not self._stage(step, path):
                rest = [
                    cell for later in path[step.number :] for cell in self._clients.cells(later)
                ]
                self._run.skip(rest, Status.NOT_RUN, f"the walk ended at stage {step.number}")
                break
            last = step.service
            self._stacks.last = Last(last, self._walked.server, self._walked.there, None)
        if not self._is_whole:
            self._stacks.last = None
        elif last is not None and self._run.options.keep and self._backend.outlives:
            self._leave(last)

    def _prepare(self, path: Sequence[Step]) -> None:
        self._backend.launcher.prepare(tuple(step.service for step in path))
        done = self._run.done.get(self._name, 0)
        database = self._walked.make(path[max(done, 1) - 1])
        if self._backend.existing is not None:
            self._schema.found = schema.describe(database.address)
        elif done:
            self._go_on(done, database)
            self._run.screen.say(f"the walk goes on behind stage {done}")

    def _go_on(self, done: int, database: Database) -> None:
        """Make everything what it was when a stage came to its end."""
        programs = self._walked.server.programs
        seen = self._saved.load(done, database.address, self._run.whole.cells, programs)
        self._clients.written = [*seen.written]
        self._left, self._observed = seen.left, seen.observed

    def _set_back(self, broken: StageEntry, step: Step, path: Sequence[Step]) -> bool:
        """Make everything what it was when a stage began that broke; return whether it can be."""
        if self._run.executor.cancelled():
            return False
        before = step.number - 1
        why = one_line(broken.problems[-1].partition("; last lines")[0])
        told = f"stage {step.number} was done again: {why}"
        try:
            with naming_machine():
                self._saved.check(before)
                # Until it is whole again nothing is to be kept of it.
                self._is_whole = False
                database = self._walked.make_anew((path[max(before - 1, 0)], step))
                self._run.clients.remove_data(self._clients.data())
                if before:
                    self._go_on(before, database)
                else:
                    self._clients.written, self._left, self._observed = [], None, _UNSEEN
        except (HarnessError, psycopg2.Error) as error:
            told = f"stage {step.number} is not done again: {one_line(_in_words(error))}"
            self._run.record.note(step.service.name, told)
            self._run.screen.say(told)
            return False
        self._is_whole = True
        self._run.record.note(step.service.name, told)
        return True

    def _save(self, step: Step, database: Database) -> bool:
        """Save a stage that is done, for a walk that is cut short; return whether it is."""
        if step == self._run.plan.path[-1] or self._left is None:
            return False
        seen = Seen(self._clients.written, self._left, self._observed)
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

    def _stage(self, step: Step, path: Sequence[Step]) -> bool:
        """Go through a stage, anew where the machine broke it; return whether the walk goes on."""
        self._shown = ([], [])
        goes_on = False
        for left in range(self._run.options.retries, -1, -1):
            stage, goes_on = self._attempt(step, service_before(path, step.number))
            if stage.status is not Status.INFRA or not left:
                break
            if not self._set_back(stage, step, path):
                break
        return goes_on

    def _attempt(self, step: Step, previous: Service | None) -> tuple[StageEntry, bool]:
        """Go through a stage once; return what came of it, and whether the walk goes on."""
        started, before = time.monotonic(), self._clients.counts()
        planned = msgspec.structs.asdict(planned_stage(step, self._name))
        # What was seen of a stage that broke is not made good by doing it again.
        lost, problems = ([*found] for found in self._shown)
        is_shown = any(self._shown)
        stage = StageEntry(
            at=now(), run=self._run.folder.run, lost=lost, problems=problems, **planned
        )
        failed, migrated = self._tried(stage, step, previous)
        self._shown = [*stage.lost], stage.problems[: -1 if failed is Status.INFRA else None]
        try:
            self._measure(stage, self._walked.there, failed)
        except psycopg2.Error as error:
            if failed is not Status.INFRA:
                stage.problems.append(_in_words(error))
            failed = Status.INFRA
        if failed is Status.EXPECTED_FAIL and (stage.lost or is_shown):
            failed = Status.FAIL  # a failure is declared, no loss, and nothing seen before
        if failed is not Status.PASS:
            self._clients.leave_out(step, stage, failed, before)
        elif stage.lost or stage.problems:
            failed = Status.FAIL
        else:
            failed = self._judge(stage, step, previous)
            if failed is Status.PASS and stage.known:
                failed = Status.EXPECTED_FAIL
        stage.lost, stage.problems = ([*dict.fromkeys(one)] for one in (stage.lost, stage.problems))
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
        return stage, goes_on

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
                return self._judge(stage, step, previous, str(error)), False
            stage.problems.append(str(error))
            return Status.FAIL, True
        except (HarnessError, psycopg2.Error) as error:
            stage.problems.append(_in_words(error))
            return (Status.FAIL if isinstance(error, MoveError) else Status.INFRA), True
        return Status.PASS, True

    def _judge(
        self, stage: StageEntry, step: Step, previous: Service | None, wrong: str = ""
    ) -> Status:
        """Judge a migration, also one that went well: it may be declared to fail."""
        outcome = CheckOutcome(Status.FAIL if wrong else Status.PASS, wrong)
        declared = self._run.options.expectations
        return judge_migration(declared, stage, outcome, step.service, previous)

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
            self._compare_and_ask(stage, step, stack, database)
            self._clients.go(stage, step, stack)
            served = fingerprint.take(database.address)
        stopped = fingerprint.compare(served, database.address)
        stage.lost += [f"when the service stopped: {loss}" for loss in stopped]
        # On a schema that did not change the older image finds what it brings itself.
        if previous is not None and stage.schema_after != stage.schema_before:
            # The service of this stage is stopped by now: an operator swaps one for the other.
            with self._started(previous, database, step.number, "-rollback") as older:
                judge_rollback(
                    self._run,
                    stage,
                    older,
                    database.address,
                    written=self._clients.written,
                    point=self._point,
                )
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

    def _compare_and_ask(
        self, stage: StageEntry, step: Step, stack: Stack, database: Database
    ) -> None:
        """Compare the schema with a fresh install's, which is made while the service is asked.

        Not while it migrates: how long that takes is told. Nor are the service's own clients at
        work: the questions are a load, and may end it, and no client is to be blamed for that.
        """
        # A database that was walked before has the flows of that walk.
        flow = self._contracts.flow(f"ContractStage{step.number}")
        migrated = self._schema.migrated(database)
        ask = partial(self._contracts.ask, stack.running, stack.address, flow)
        with self._run.executor.beside(ask) as asked:
            stage.problems += self._schema.problems(step, migrated)
        self._judge_contract(stage, step, stack, asked.result())

    def _judge_contract(
        self, stage: StageEntry, step: Step, stack: Stack, found: contract.Contract
    ) -> None:
        wrong, known = self._contracts.declared(found, step.service, self._point)
        stage.problems += wrong
        stage.known += known
        stage.problems += contract.undeclared(found, step.service, stack.schema)
        observed = contract.Observed(step.service.name, found.observations)
        stage.problems += contract.differences(self._observed, observed)
        if found.complete:  # what a refused write leaves unasked is no behaviour to compare with
            self._observed = observed
            stage.observed = dict(found.observations)


def _in_words(error: Exception) -> str:
    """Return what ended a stage in words that say what broke."""
    if isinstance(error, psycopg2.Error):
        return naming_shortage(f"the database does not answer any more: {one_line(error)}")
    return naming_shortage(str(error))


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
