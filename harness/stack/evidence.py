"""What is found when a stack is asked why something went wrong, and what comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg2
import requests

from harness.core.blame import Evidence, blame
from harness.core.outcome import Status
from harness.machine.errors import EndedError, InfraError, naming_shortage, one_line, run_out
from harness.machine.processes import tail_note
from harness.machine.web import ask
from harness.stack.database.server import Address
from harness.stack.service.launcher import RunningService, ServiceError

# Longer than a service takes for anything that a client waits for.
_ANSWER_SECONDS = 10.0
_REQUEST = re.compile(r"(?:GET|POST|PATCH|PUT|DELETE) \S+?(?=: )")


def evidence_of(running: RunningService, database: Address | None, asked: str = "") -> Evidence:
    """Ask service and database whether they live.

    Args:
        running: the service.
        database: its database, from this machine; None where nobody knows it.
        asked: the request that was under way; empty where nobody knows.

    Raises:
        InfraError: when nothing can be said of the service: its engine does not answer, or it
            is somebody else's and does not.
    """
    evidence = Evidence(service=running.service.name, database=silence_of(database))
    if evidence.database:
        return evidence
    try:
        running.check_alive()
    except EndedError as error:
        return replace(evidence, ending=error.ending, asked=asked, served=str(error))
    return evidence


def silence_of(database: Address | None) -> str:
    """Return what is wrong with a database; empty when it answers, or where nobody knows it."""
    try:
        if database is not None:
            database.connect().close()
    except psycopg2.OperationalError as error:
        return one_line(error)
    return ""


def with_silence(evidence: Evidence, running: RunningService) -> Evidence:
    """Add what a service that runs does not answer: one that hangs costs each cell its whole time.

    Args:
        evidence: as found; of what has ended nothing is asked.
        running: the service.
    """
    silent = _unanswered(running) if evidence.lives else ""
    return replace(evidence, late=True, silent=silent) if silent else evidence


def _unanswered(running: RunningService) -> str:
    """Return the first request that a service, though it runs, does not answer."""
    # One that hangs over its database may still answer what asks no row.
    for path in ("/ping", "/flows"):
        try:
            ask("GET", f"{running.url}{path}", seconds=_ANSWER_SECONDS)
        except requests.RequestException:
            return f"GET {path} within {_ANSWER_SECONDS:g} s"
    return ""


def check_not_killed(running: RunningService, database: Address | None) -> None:
    """Raise InfraError where what is wrong with a service is the machine's doing.

    A service whose database was taken from it still answers, and nothing of that is its fault.

    Args:
        running: the service.
        database: its database; None where nobody knows it.

    Raises:
        InfraError: when the database is gone, or the service was killed from outside.
    """
    found = blame(evidence_of(running, database))
    if found is not None and found.status is Status.INFRA:
        raise InfraError(found.sentence)


@contextmanager
def blaming(running: RunningService, database: Address | None) -> Iterator[None]:
    """Say of a block that could not go on who is to blame: the service may have ended.

    Raises:
        ServiceError: when the service ended by itself.
        InfraError: when something else broke.
    """
    try:
        yield
    except ServiceError as error:
        # A migration, say, that fails for want of room.
        if run_out(str(error)):
            raise InfraError(naming_shortage(str(error))) from error
        check_not_killed(running, database)
        raise
    except InfraError as error:
        asked = _REQUEST.match(str(error))
        path = asked.group().replace(running.url, "") if asked else ""
        found = blame(evidence_of(running, database, path))
        if found is None:
            raise
        said = f"{found.sentence}{tail_note(running.log)}"
        raise (ServiceError if found.status is Status.FAIL else InfraError)(said) from error
