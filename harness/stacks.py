"""Stacks: one database and one service that run together, started once and shared by cells."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.backend import Backend
from harness.database import Database
from harness.database.rows import schema_version
from harness.errors import InfraError
from harness.service import RunningService
from harness.service.identity import identity_notes, reported_version
from harness.service.migration import Migration, MigrationError, bring_up
from harness.versions import Service


@dataclass(frozen=True)
class Stack:
    """A service that clients may use, over its database.

    Attributes:
        reported: the version it tells clients; None when it tells none.
        schema: the schema's newest applied migration; 0 for none.
    """

    running: RunningService
    database: Database
    migration: Migration
    reported: str | None
    schema: int


def database_name(base: str, service: Service) -> str:
    """Return the name of the service's own database on the run's server."""
    return f"{base}_{re.sub('[^a-z0-9]+', '_', service.name.lower())}"


class Stacks:
    """The stacks of one ``compat`` run: each service on a fresh database, started on first use.

    Args:
        backend: where the parts come from.
        base: the first part of each database's name.
        logs: folder for the services' logs.
        note: called with a service and each note on it, when its stack is up.
    """

    def __init__(
        self, backend: Backend, base: str, logs: Path, note: Callable[[Service, str], None]
    ) -> None:
        self._note = note
        self._backend = backend
        self._base = base
        self._logs = logs
        self._server_lock = threading.Lock()
        self._server_started = False
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._stacks: dict[str, Stack | InfraError | MigrationError] = {}
        self._running: list[RunningService] = []

    def get(self, service: Service) -> Stack:
        """Return the stack of a service, started now if it is the first to ask.

        Raises:
            InfraError: when it does not start; the same again for everyone who asks later.
            MigrationError: when it cannot bring its schema up to date; likewise.
        """
        with self._locks[service.name]:
            if service.name not in self._stacks:
                try:
                    self._stacks[service.name] = self._start(service)
                except InfraError as error:
                    self._stacks[service.name] = InfraError(f"no stack for {service.name}: {error}")
                except MigrationError as error:
                    self._stacks[service.name] = error
            stack = self._stacks[service.name]
        if isinstance(stack, Stack):
            return stack
        raise stack

    def _start(self, service: Service) -> Stack:
        with self._server_lock:
            if not self._server_started:
                self._backend.database.start()
                self._server_started = True
        database = self._backend.database.create(database_name(self._base, service))
        log = self._logs / f"{service.slug}.log"
        running = self._backend.launcher.start(service, database, log)
        self._running.append(running)
        migration = bring_up(running)
        reported = reported_version(running)
        schema = schema_version(database.address) or 0
        for note in identity_notes(running, reported, schema):
            self._note(service, note)
        return Stack(running, database, migration, reported, schema)

    def stop(self) -> None:
        """Stop every service, then the server. Safe to call twice."""
        try:
            for running in self._running:
                running.stop()
        finally:
            self._backend.database.stop()
