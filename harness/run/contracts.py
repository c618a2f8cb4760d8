"""The contract of each service of a run: asked before any client, judged by what is declared."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

import msgspec
import psycopg2

from harness.catalog.releases import Service
from harness.core import judging
from harness.core.axes import Point, walk_name
from harness.core.blame import Blame
from harness.core.entries import Answered, Provenance, Reused, StageEntry, now
from harness.core.outcome import Status
from harness.core.provenance import digest, with_key_of_service
from harness.core.scenarios import WRONG_ORDER
from harness.machine.errors import InfraError, one_line
from harness.proof import contract, fingerprint, unmigrated
from harness.proof.declared import CHECKS
from harness.run.folder import RunFolder
from harness.run.options import Options
from harness.run.record import Record
from harness.run.reuse import Earlier
from harness.stack.backend import Backend
from harness.stack.database.server import Address, Database
from harness.stack.evidence import blaming, check_not_killed
from harness.stack.service.identity import reported_notes
from harness.stack.service.launcher import RunningService, ServiceError
from harness.stack.service.migration import await_ready
from harness.stack.stacks import Served, Stack


class Contracts:
    """Asks and judges the services of a run.

    Args:
        options: of the run.
        folder: of the run.
        record: what services answered, and where it is written.
        backend: where services come from; None where clients run alone, and nothing is asked.
        decided: what decides outcomes, beside what serves.
    """

    def __init__(
        self,
        options: Options,
        folder: RunFolder,
        record: Record,
        backend: Backend | None,
        decided: Provenance,
    ) -> None:
        self._options = options
        self._folder = folder
        self._record = record
        self._backend = backend
        self._decided = decided
        self._lock = threading.Lock()
        self._early: dict[str, tuple[str, ...]] = {}
        """By a service's address, what was wrong with it before its database was migrated."""
        self._latest: dict[tuple[str, str], StageEntry] = {}
        """By walk and service, what was told of it last."""
        self._opened: list[tuple[Stack, tuple[str, str]]] = []
        """The stacks that are up, with walk and service."""

    def ask_unmigrated(self, running: RunningService, database: Database, point: Point) -> None:
        """Ask a service what it answers before anybody migrates, where one can be had so."""
        if point.scenario == WRONG_ORDER:
            self._early[running.url] = self._unmigrated(running, database)
            return
        assert self._backend is not None
        start = self._backend.launcher.start_unmigrated
        if start is None or not running.service.migrates:
            return
        # Not the stack's own: some releases make tables, which nothing can migrate then.
        server = self._backend.server(point)
        name = f"unmigrated_{database.address.name}"
        empty = server.create(name)
        try:
            log = running.log.with_name(f"{running.log.stem}-unmigrated.log")
            early = start(running.service, empty, log)
            try:
                if self._comes_up(early, empty):
                    self._early[running.url] = self._unmigrated(early, empty)
            finally:
                early.stop()
        finally:
            server.drop(name)

    @staticmethod
    def _comes_up(running: RunningService, database: Database) -> bool:
        """Tell whether it does, or ends by itself: then it does not say that it is well."""
        try:
            with blaming(running, database.address):
                await_ready(running)
        except ServiceError:
            return False
        return True

    def _unmigrated(self, running: RunningService, database: Database) -> tuple[str, ...]:
        told = unmigrated.ask(running.url, database.address, self.flow("Unmigrated"))
        if told:
            check_not_killed(running, database.address)
        return told

    @staticmethod
    def ask(running: RunningService, address: Address | None, flow: str) -> contract.Contract:
        """Ask a service for its contract.

        Args:
            running: the service.
            address: its database; None where that is not known.
            flow: that nobody has used.

        Raises:
            InfraError: when the machine took the service or its database away meanwhile.
        """
        found = contract.exercise(running.url, address, flow)
        if found.problems:
            check_not_killed(running, address)
        return found

    def flow(self, purpose: str = "Contract") -> str:
        """Return the name of the flow by which a service is asked, unasked for its contract."""
        return f"{purpose}_{self._folder.run.replace('-', '_')}"

    def judge(self, stack: Stack, point: Point) -> None:
        """Ask a service for its contract, on a database that no client has used yet."""
        started, service = time.monotonic(), stack.running.service
        if stack.is_ours:
            self._opened.append((stack, (walk_name(point), service.name)))
        judged = StageEntry(
            at=now(),
            run=self._folder.run,
            stage=0,
            service=service.name,
            service_kind=service.kind,
            direction="upgrade",
            walk=walk_name(point),
            reported=stack.reported,
            schema_after=stack.schema,
            migrations=list(stack.migration.applied),
            migration_seconds=stack.migration.seconds,
            log=str(stack.running.log.relative_to(self._folder.path)),
            provenance=self._provenance(service, point, stack.served),
        )
        try:
            with blaming(stack.running, stack.address):
                found = self.ask(stack.running, stack.address, self.flow())
        except (InfraError, ServiceError) as error:
            # The cells find out by themselves whether anything answers them.
            ended = isinstance(error, ServiceError)
            judged.status = Status.FAIL if ended else Status.INFRA
            judged.problems = [str(error)]
            judged.seconds = round(time.monotonic() - started, 2)
            self._add(judged)
            return
        early = self._early.pop(stack.running.url, None)
        judged.seconds = round(time.monotonic() - started, 2)
        if found.complete:
            judged.observed = dict(found.observations)
            told = None if early is None else list(early)
            judged.answered = Answered(list(found.problems), told, list(stack.notes))
        self._conclude(judged, found, early, service, point)

    def _conclude(
        self,
        judged: StageEntry,
        found: contract.Contract,
        early: Iterable[str] | None,
        service: Service,
        point: Point,
    ) -> None:
        """Judge what a service was found to do, and record it."""
        judged.problems, judged.known = self.declared(found, service, point)
        if early is not None:
            wrong, known = self._judged(early, service, point, [unmigrated.CHECK])
            judged.problems, judged.known = wrong + judged.problems, known + judged.known
        judged.problems += contract.undeclared(found, service, judged.schema_after or 0)
        judged.problems += contract.unusual(found, service)
        # One after the other: of two neighbours the one that comes later sees the other.
        with self._lock:
            judged.problems += self._beside(judged, service)
            expected = Status.EXPECTED_FAIL if judged.known else Status.PASS
            judged.status = Status.FAIL if judged.problems else expected
            self._add(judged)

    def _provenance(self, service: Service, point: Point, served: Served) -> Provenance:
        decided = msgspec.structs.replace(self._decided, **served._asdict())
        return _of_service(decided, service, point)

    def is_told(self, service: Service, point: Point) -> bool:
        """Tell whether the run has told already what came of the service of a cell by itself."""
        return any(
            (one.run, one.stage, one.walk, one.service)
            == (self._folder.run, 0, walk_name(point), service.name)
            for one in self._record.view.stages
        )

    def reuse(self, earlier: Earlier, service: Service, point: Point, served: Served) -> bool:
        """Take what an earlier run found a service to do, judged by what is declared now.

        Args:
            earlier: the results of earlier runs.
            service: the service.
            point: of one of its cells.
            served: what would run.

        Returns:
            Whether there is such a result.
        """
        provenance = self._provenance(service, point, served)
        found = earlier.service(provenance.key, self._folder.path)
        if found is None or found.answered is None:
            return False
        judged = msgspec.structs.replace(
            found, at=now(), run=self._folder.run, provenance=provenance
        )
        self._judge_again(judged, service, point)
        return True

    def share(self, service: Service, same: Service, point: Point) -> bool:
        """Take what this run found a service of the same code to do.

        Args:
            service: whose code is that of the other.
            same: the one that was asked.
            point: of one of its cells.

        Returns:
            Whether that one tells all there is to tell.
        """
        place = (self._folder.run, 0, walk_name(point), same.name)
        stages = self._record.view.stages
        asked = [one for one in stages if (one.run, one.stage, one.walk, one.service) == place]
        found = asked[-1] if asked else None
        if found is None or found.answered is None or found.lost:
            return False
        source = found.reused or Reused(run=found.run, at=found.at)
        notes = reported_notes(service, found.reported, found.schema_after or 0)
        judged = msgspec.structs.replace(
            found,
            at=now(),
            service=service.name,
            service_kind=service.kind,
            provenance=_of_service(found.provenance, service, point),
            answered=msgspec.structs.replace(found.answered, notes=notes),
            reused=msgspec.structs.replace(source, service=same.name),
        )
        self._judge_again(judged, service, point)
        return True

    def _judge_again(self, judged: StageEntry, service: Service, point: Point) -> None:
        """Judge what a service was found to do elsewhere by what is declared of it here, now."""
        assert judged.answered is not None
        for note in judged.answered.notes:
            self._record.note(service.name, note)
        found = contract.Contract(judged.observed, tuple(judged.answered.problems))
        self._conclude(judged, found, judged.answered.early, service, point)

    def _add(self, judged: StageEntry) -> None:
        before = self._latest.get((judged.walk, judged.service))
        if before is not None and before.status is Status.FAIL:
            # A stack that takes the place of one that died does not make good what was wrong.
            judged.problems = [*dict.fromkeys([*before.problems, *judged.problems])]
            judged.status, judged.answered = Status.FAIL, None
        self._latest[judged.walk, judged.service] = judged
        self._record.add(judged)

    def judge_stops(self, spared: RunningService | None) -> Iterator[str]:
        """Stop the services that end with the run, and note what of their rows went with them.

        Args:
            spared: the one that is to run on; None for none.

        Yields:
            A line on each whose rows could not be compared.
        """
        for stack, key in self._opened:
            if stack.running is spared:
                continue
            try:
                assert stack.database is not None  # each of our own has one
                served = fingerprint.take(stack.database.address)
                stack.running.stop()
                losses = fingerprint.compare(served, stack.database.address)
            except (InfraError, psycopg2.Error) as error:
                name = stack.running.service.name
                yield f"{name}: rows not compared when it stopped: {one_line(error)}"
                continue
            if losses:
                judged = self._latest[key]
                lost = [*judged.lost, *(f"when the service stopped: {loss}" for loss in losses)]
                self._add(msgspec.structs.replace(judged, at=now(), status=Status.FAIL, lost=lost))

    def note_end(self, stack: Stack, point: Point, found: Blame) -> None:
        """Note that a stack has died: of its service as a problem, of all else as repaired."""
        service = stack.running.service.name
        self._opened = [one for one in self._opened if one[0] is not stack]
        if found.status is not Status.FAIL:
            self._record.note(service, f"{service}: {found.sentence}; its stack was replaced")
            return
        judged = self._latest[walk_name(point), service]
        if not any(problem.startswith(found.sentence) for problem in judged.problems):
            problems = [*judged.problems, found.sentence]
            self._add(
                msgspec.structs.replace(
                    # What it answered does not tell this: no other run may go by it alone.
                    judged,
                    at=now(),
                    status=Status.FAIL,
                    problems=problems,
                    answered=None,
                )
            )

    def _beside(self, judged: StageEntry, service: Service) -> list[str]:
        """Compare a service with those of its neighbours that were asked before it.

        Units end in any order, and a run that goes on has the others in its journal.
        """
        asked = {
            stage.service: contract.Observed(stage.service, stage.observed)
            for stage in self._record.view.stages
            if stage.run == judged.run and not stage.stage and stage.walk == judged.walk
        }
        asked[service.name] = contract.Observed(service.name, judged.observed)
        alike = [one for one in self._options.services if one.deps == service.deps]
        return contract.beside(service, alike, asked)

    def declared(
        self, found: contract.Contract, service: Service, point: Point | None
    ) -> tuple[list[str], list[str]]:
        """Return what is wrong with a service by what is declared of it, and what is known."""
        # What is declared and does not fail is told only where everything could be asked.
        asked = [one for one in CHECKS if one != unmigrated.CHECK] if found.complete else []
        return self._judged(found.problems, service, point, asked)

    def _judged(
        self,
        problems: Iterable[str],
        service: Service,
        point: Point | None,
        asked: Iterable[str],
    ) -> tuple[list[str], list[str]]:
        declared, today = self._options.expectations, datetime.now(timezone.utc).date()
        return judging.judge_contract(declared, list(problems), service, today, point, asked=asked)


def _of_service(provenance: Provenance, service: Service, point: Point) -> Provenance:
    """Return the provenance of a service by itself, with what is known of it and with its key."""
    known = msgspec.structs.replace(provenance, asked=digest(service.known))
    return with_key_of_service(known, service.name, point)
