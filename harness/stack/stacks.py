"""Stacks: one database and one service that run together, started once and shared by cells."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import psycopg2

from harness.catalog.releases import Service
from harness.core.axes import Point, walk_name
from harness.core.blame import Blame, Evidence, blame
from harness.core.outcome import Status
from harness.machine.errors import EndedError, InfraError, one_line
from harness.stack.backend import Backend
from harness.stack.database.rows import schema_version, server_version
from harness.stack.database.server import Address, Database, DatabaseServer
from harness.stack.evidence import blaming, evidence_of, with_silence
from harness.stack.service.external import NAME as EXTERNAL
from harness.stack.service.external import ExternalLauncher
from harness.stack.service.identity import identified_version, identity_notes, reported_version
from harness.stack.service.launcher import RunningService, ServiceError
from harness.stack.service.migration import Migration, bring_up


class Served(NamedTuple):
    """What serves clients, as far as it decides what comes of them; nothing where they are alone.

    Attributes:
        service: the code of the service.
        server: the code of PostgreSQL.
        reported: the version that the service tells clients; None when it tells none.
        db_schema: newest applied migration.
        database: version of PostgreSQL, as it says itself.
    """

    service: str = ""
    server: str = ""
    reported: str | None = None
    db_schema: int | None = None
    database: str = ""


@dataclass(frozen=True)
class Stack:
    """A service that clients may use, over its database.

    Attributes:
        reported: the version it tells clients; None when it tells none.
        schema: the schema's newest applied migration; 0 for none.
        database: None where a service that somebody else runs came without the address of its own.
        server: version of PostgreSQL, as it says itself.
        home: the server of the database; None where nobody may look after it.
        over: what was found when a part of it had died, and was started again; else nothing. Who
            used it until then, in parallel, must not find it alive.
        notes: what was noted of the service.
    """

    running: RunningService
    database: Database | None
    migration: Migration
    reported: str | None
    schema: int
    server: str = ""
    home: DatabaseServer | None = None
    over: list[Evidence] = field(default_factory=list, compare=False)
    notes: tuple[str, ...] = ()

    def evidence(self, asked: str = "") -> Evidence:
        """Ask service and database whether they live: a client's failure may not be its own.

        A service that outlives its database answers 500, and clients take that for its word.

        Args:
            asked: the request that was under way; empty where nobody knows.
        """
        if self.over:
            return replace(self.over[0], asked=asked)
        return evidence_of(self.running, self.address, asked)

    @property
    def served(self) -> Served:
        """What decides what comes of its clients."""
        server = self.home.code if self.home else ""
        return Served(self.running.code, server, self.reported, self.schema, self.server)

    @property
    def address(self) -> Address | None:
        """Where its database is; None where that is not known."""
        return None if self.database is None else self.database.address

    @property
    def is_ours(self) -> bool:
        """Whether a run may stop the service, and put another in its place."""
        return self.running.service.kind != EXTERNAL

    def watch(self) -> None:
        """Raise InfraError when whoever uses it waits in vain: a part was killed from outside.

        A service that ended by itself is the client's to find out: it names the request. So is
        one that somebody else runs: whether it lives could only be asked, again and again.
        """
        if not self.is_ours:
            return
        found = blame(self.over[0] if self.over else self._endings())
        if found is not None and found.status is Status.INFRA:
            raise InfraError(found.sentence)

    def _endings(self) -> Evidence:
        """Return which of service and database has ended; neither is asked anything."""
        evidence = Evidence(service=self.running.service.name)
        try:
            if self.home is not None:
                self.home.check_alive()
        except EndedError as error:
            evidence = replace(evidence, database=f"PostgreSQL {error.ending}")
        try:
            self.running.check_alive()
        except EndedError as error:
            evidence = replace(evidence, ending=error.ending)
        return evidence

    def check_alive(self) -> None:
        """Raise InfraError when the database is gone, or the service was killed from outside.

        Raises:
            ServiceError: when the service ended by itself.
        """
        found = blame(self.evidence())
        if found is not None:
            raise (ServiceError if found.status is Status.FAIL else InfraError)(found.sentence)


@dataclass(frozen=True)
class Last:
    """What a run leaves with ``--keep``.

    Attributes:
        service: the one that was brought up last.
        server: the server that has its database.
        database: its database.
        running: the service while it runs; None when its stage of a walk is over.
    """

    service: Service
    server: DatabaseServer
    database: Database
    running: RunningService | None


def database_name(base: str, service: Service, scenario: str = "") -> str:
    """Return the name of the service's own database on its server."""
    # PostgreSQL cuts long names, and a user's file may have one.
    deps = service.deps.digest or service.deps.name
    named = "_".join(filter(None, [service.name, deps, scenario]))
    return f"{base}_{re.sub('[^a-z0-9]+', '_', named.lower())}"


class Stacks:
    """The stacks of one run: each service on a fresh database, started on first use.

    Args:
        backend: where the parts come from.
        base: the first part of each database's name.
        logs: folder for the services' logs.
        note: called with a service's name and each note on it, when its stack is up.
        begun: called with a service that is started, its database and the point of who asks for
            it, before it is brought up.
        opened: called with a stack that is up and its point, before any client has it.
        ended: called with a stack whose service or database is found dead, its point, and who is
            to blame; once for each.
    """

    def __init__(
        self,
        backend: Backend,
        base: str,
        logs: Path,
        note: Callable[[str, str], None],
        *,
        begun: Callable[[RunningService, Database, Point], None],
        opened: Callable[[Stack, Point], None],
        ended: Callable[[Stack, Point, Blame], None],
    ) -> None:
        self._note = note
        self._begun = begun
        self._opened = opened
        self._ended = ended
        self._backend = backend
        self._base = base
        self._logs = logs
        # A lock for each server and each stack: a slow start holds up only who needs it.
        self._server_locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        self._servers: dict[int, InfraError | None] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._stacks: dict[str, Stack | InfraError | ServiceError] = {}
        self._points: dict[str, Point] = {}
        self._made: Counter[str] = Counter()
        self._running: list[RunningService] = []
        self.last: Last | None = None

    def get(self, service: Service, point: Point) -> Stack:
        """Return the stack of a cell, started now if it is the first to ask.

        One that has died meanwhile is replaced by a new one, on a fresh database.

        Args:
            service: of the cell.
            point: its variants; cells that share those of a stack share it.

        Raises:
            InfraError: when it does not start; the same again for everyone who asks later.
            ServiceError: when its service ends by itself, or cannot bring its schema up to date;
                likewise.
        """
        key = "-".join(filter(None, [service.slug, walk_name(point)]))
        # Whoever comes second waits for the start of the first, and shares its stack or its error.
        with self._locks[key]:
            found = self._stacks.get(key)
            if found is None or (isinstance(found, Stack) and self._is_dead(found, point)):
                self._points[key] = point
                found = self._stacks[key] = self._made_stack(service, point, key)
        if isinstance(found, Stack):
            return found
        raise found

    def _is_dead(self, stack: Stack, point: Point) -> bool:
        """Tell whether a stack is of no use any more; then it is stopped, and told of.

        Raises:
            InfraError: when it is somebody else's and does not answer: nothing can take its place.
        """
        if not stack.is_ours:
            stack.running.check_alive()
            return False
        found = blame(with_silence(stack.evidence(), stack.running))
        if found is None:
            return False
        self._ended(stack, point, found)
        stack.running.stop()
        return True

    def tell_ended(self) -> None:
        """Tell of each service that has ended by itself, though no cell came to find it so."""
        for key, stack in self._stacks.items():
            if isinstance(stack, Stack) and stack.is_ours:
                found = blame(stack.evidence())
                if found is not None and found.status is Status.FAIL:
                    self._ended(stack, self._points[key], found)

    def _made_stack(
        self, service: Service, point: Point, key: str
    ) -> Stack | InfraError | ServiceError:
        """Return a new stack, or why there is none."""
        if isinstance(self._backend.launcher, ExternalLauncher):
            try:
                return self._reach(self._backend.launcher, service, point)
            except (InfraError, psycopg2.OperationalError) as error:
                return InfraError(f"no stack for {service.name}: {one_line(error)}")
        server, why = self._backend.server(point), ""
        # Nothing is wrong with a service whose database, or port, was taken from it: once more.
        for _ in range(2):
            try:
                return self._start(server, service, point, key)
            except ServiceError as error:
                return error
            except InfraError as error:
                why = str(error)
            except psycopg2.OperationalError as error:
                why = f"the database does not answer any more: {one_line(error)}"
            if not self._has_ended(server) and "address already in use" not in why.lower():
                break
        return InfraError(f"no stack for {service.name}: {why}")

    def _start(self, server: DatabaseServer, service: Service, point: Point, key: str) -> Stack:
        self.start_server(server)
        self._made[key] += 1
        name = database_name(self._base, service, point.scenario)
        if self._made[key] > 1:
            name += f"_{self._made[key]}"
        database = server.create(name)
        log = self._logs / f"{re.sub('[/ ]', '-', key)}.log"
        running = self._backend.launcher.start(service, database, log, point.scenario)
        # Before it is brought up: one that fails there is stopped with the others.
        self._running.append(running)
        with blaming(running, database.address):
            self._begun(running, database, point)
            migration = bring_up(running)
            schema = schema_version(database.address) or 0
            reported = identified_version(running, schema)
        notes = identity_notes(running, reported, schema)
        for note in notes:
            self._note(service.name, note)
        self.last = Last(service, server, database, running)
        version = server_version(database.address)
        stack = Stack(running, database, migration, reported, schema, version, server, notes=notes)
        self._opened(stack, point)
        return stack

    @staticmethod
    def _has_ended(server: DatabaseServer) -> bool:
        try:
            server.check_alive()
        except EndedError:
            return True
        return False

    def _reach(self, launcher: ExternalLauncher, service: Service, point: Point) -> Stack:
        """Return the stack of a service that somebody else runs, as it stands."""
        database = self._backend.existing
        running = launcher.start(service, database, self._logs / f"{service.slug}.log")
        migration = bring_up(running)
        reported = reported_version(running)
        schema = schema_version(database.address) or 0 if database else 0
        version = server_version(database.address) if database else ""
        if database is None:
            self._note(
                service.name,
                f"no rows of {service.name} were seen: refused writes that wrote, times, and what"
                " checks promise of rows are not asked; --database-url names its database",
            )
        stack = Stack(running, database, migration, reported, schema, version)
        self._opened(stack, point)
        return stack

    def start_server(self, server: DatabaseServer) -> None:
        """Start a database server once, and anew where it has ended.

        What did not start for one does for nobody.
        """
        with self._server_locks[id(server)]:
            there = id(server) in self._servers
            dead = there and self._servers[id(server)] is None and self._has_ended(server)
            if dead:
                server.stop()
            if dead or not there:
                self._servers[id(server)] = None
                try:
                    server.start()
                except InfraError as error:
                    self._servers[id(server)] = error
            failed = self._servers[id(server)]
        if failed is not None:
            raise failed

    def adopt(self, running: RunningService) -> None:
        """Take a service that was started elsewhere, to be stopped like the others."""
        self._running.append(running)

    def stop(self, *, keep: bool = False) -> None:
        """Stop every service, then the servers, and remove what is left. Safe to call twice.

        Args:
            keep: leave the data of the server that the last stack used.
        """
        # It calls the last one first, and goes on when one of them fails.
        with contextlib.ExitStack() as ending:
            ending.callback(self._backend.close)
            for server in self._backend.servers:
                kept = keep and self.last is not None and server is self.last.server
                ending.callback(server.stop, keep=kept)
            for running in self._running:
                ending.callback(running.stop)

    def stop_others(self) -> None:
        """Stop every service and server but the last; that one and its database stay."""
        for running in self._running:
            if self.last is None or running is not self.last.running:
                running.stop()
        for server in self._backend.servers:
            if self.last is None or server is not self.last.server:
                server.stop()
