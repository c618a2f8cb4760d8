"""Stacks: one database and one service that run together, started once and shared by cells."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from harness.backend import Backend
from harness.database import Address, Database
from harness.database.rows import schema_version
from harness.errors import InfraError
from harness.service import RunningService
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


def reported_version(running: RunningService) -> str | None:
    """Return the version header of /ping, which clients gate features on; None without one."""
    response = requests.get(f"{running.url}/ping", timeout=30)
    version: str | None = response.headers.get("METADATA_SERVICE_VERSION")
    return version


def identify(running: RunningService, address: Address) -> str | None:
    """Return the version that answers, when it is that of the service that was asked for.

    Raises:
        InfraError: when another release answers: the start script of an image picks one by the
            schema it finds, and a tag can be moved. Cells would judge the wrong service.
    """
    reported = reported_version(running)
    service = running.service
    if service.kind == "released" and reported != service.reported:
        raise InfraError(
            f"{service.name} was asked for, which reports {service.reported or 'no version'};"
            f" what answers reports {reported or 'no version'}, on schema"
            f" {schema_version(address) or 'none'} ({running.origin}). Its log tells what the"
            f" start script chose: {running.log}. If the image was published anew, correct"
            " 'reported' in versions.json"
        )
    return reported


def database_name(base: str, service: Service) -> str:
    """Return the name of the service's own database on the run's server."""
    return f"{base}_{re.sub('[^a-z0-9]+', '_', service.name.lower())}"


class Stacks:
    """The stacks of one ``compat`` run: each service on a fresh database, started on first use.

    Args:
        backend: where the parts come from.
        base: the first part of each database's name.
        logs: folder for the services' logs.
        started: called with each stack once clients may use it.
    """

    def __init__(
        self, backend: Backend, base: str, logs: Path, started: Callable[[Stack], None]
    ) -> None:
        self._backend = backend
        self._note = started
        self._base = base
        self._logs = logs
        self._server_lock = threading.Lock()
        self._server_started = False
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._stacks: dict[str, Stack | InfraError] = {}
        self._running: list[tuple[RunningService, Database]] = []

    def get(self, service: Service) -> Stack:
        """Return the stack of a service, started now if it is the first to ask.

        Raises:
            InfraError: when it does not start; the same again for everyone who asks later.
        """
        with self._locks[service.name]:
            if service.name not in self._stacks:
                try:
                    self._stacks[service.name] = self._start(service)
                except (InfraError, MigrationError) as error:
                    self._stacks[service.name] = InfraError(f"no stack for {service.name}: {error}")
            stack = self._stacks[service.name]
        if isinstance(stack, InfraError):
            raise stack
        return stack

    def _start(self, service: Service) -> Stack:
        with self._server_lock:
            if not self._server_started:
                self._backend.database.start()
                self._server_started = True
        database = self._backend.database.create(database_name(self._base, service))
        log = self._logs / f"{service.name}.log"
        running = self._backend.launcher.start(service, database, log)
        self._running.append((running, database))
        migration = bring_up(running)
        stack = Stack(
            running,
            database,
            migration,
            identify(running, database.address),
            schema_version(database.address) or 0,
        )
        self._note(stack)
        return stack

    def adopt(self, running: RunningService, database: Database) -> None:
        """Take a service that was started elsewhere, to be kept or stopped like the others."""
        self._running.append((running, database))

    def stop(self) -> None:
        """Stop every service, then the server, and remove what is left. Safe to call twice."""
        with contextlib.ExitStack() as ending:
            ending.callback(self._backend.close)
            ending.callback(self._backend.database.stop)
            for running, _ in self._running:
                ending.callback(running.stop)

    def keep_last(self) -> tuple[RunningService, Database] | None:
        """Stop every service but the last; return it and its database, which stay.

        Returns:
            None when no service was started; then nothing stays.
        """
        if not self._running:
            self.stop()
            return None
        last, database = self._running[-1]
        for running, _ in self._running:
            if running is not last:
                running.stop()
        return last, database
