"""Stacks: one database and one service that run together, started once and shared by cells."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from harness.catalog.releases import Service
from harness.core.axes import Point, walk_name
from harness.machine.errors import InfraError
from harness.stack.backend import Backend
from harness.stack.database.admin import one_line
from harness.stack.database.rows import schema_version, server_version
from harness.stack.database.server import Database, DatabaseServer
from harness.stack.service.identity import identified_version, identity_notes
from harness.stack.service.launcher import RunningService
from harness.stack.service.migration import Migration, MigrationError, bring_up


@dataclass(frozen=True)
class Stack:
    """A service that clients may use, over its database.

    Attributes:
        reported: the version it tells clients; None when it tells none.
        schema: the schema's newest applied migration; 0 for none.
        server: version of PostgreSQL, as it says itself.
    """

    running: RunningService
    database: Database
    migration: Migration
    reported: str | None
    schema: int
    server: str = ""

    def check_alive(self) -> None:
        """Find out whether a client's failure may be its own.

        Raises:
            InfraError: when the service has ended.
            psycopg2.OperationalError: when the database does not answer any more. A service that
                outlives its database answers 500, and clients take that for its word.
        """
        self.running.check_alive()
        self.database.address.connect().close()


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


def database_name(base: str, service: Service) -> str:
    """Return the name of the service's own database on its server."""
    return f"{base}_{re.sub('[^a-z0-9]+', '_', service.name.lower())}"


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
    ) -> None:
        self._note = note
        self._begun = begun
        self._opened = opened
        self._backend = backend
        self._base = base
        self._logs = logs
        # A lock for each server and each stack: a slow start holds up only who needs it.
        self._server_locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        self._servers: dict[int, InfraError | None] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._stacks: dict[str, Stack | InfraError | MigrationError] = {}
        self._running: list[RunningService] = []
        self.last: Last | None = None

    def get(self, service: Service, point: Point) -> Stack:
        """Return the stack of a cell, started now if it is the first to ask.

        Args:
            service: of the cell.
            point: its variants; cells that share those of a stack share it.

        Raises:
            InfraError: when it does not start; the same again for everyone who asks later.
            MigrationError: when it cannot bring its schema up to date; likewise.
        """
        key = "-".join(filter(None, [service.slug, walk_name(point)]))
        # Whoever comes second waits for the start of the first, and shares its stack or its error.
        with self._locks[key]:
            if key not in self._stacks:
                try:
                    self._stacks[key] = self._start(service, point, key)
                except InfraError as error:
                    self._stacks[key] = InfraError(f"no stack for {service.name}: {error}")
                except psycopg2.OperationalError as error:
                    why = f"the database does not answer any more: {one_line(error)}"
                    self._stacks[key] = InfraError(f"no stack for {service.name}: {why}")
                except MigrationError as error:
                    self._stacks[key] = error
            stack = self._stacks[key]
        if isinstance(stack, Stack):
            return stack
        raise stack

    def _start(self, service: Service, point: Point, key: str) -> Stack:
        server = self._backend.server(point)
        self.start_server(server)
        database = server.create(database_name(self._base, service))
        log = self._logs / f"{re.sub('[/ ]', '-', key)}.log"
        running = self._backend.launcher.start(service, database, log)
        # Before it is brought up: one that fails there is stopped with the others.
        self._running.append(running)
        self._begun(running, database, point)
        migration = bring_up(running)
        schema = schema_version(database.address) or 0
        reported = identified_version(running, schema)
        for note in identity_notes(running, reported, schema):
            self._note(service.name, note)
        self.last = Last(service, server, database, running)
        version = server_version(database.address)
        stack = Stack(running, database, migration, reported, schema, version)
        self._opened(stack, point)
        return stack

    def start_server(self, server: DatabaseServer) -> None:
        """Start a database server once; what did not start for one does for nobody."""
        with self._server_locks[id(server)]:
            if id(server) not in self._servers:
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
