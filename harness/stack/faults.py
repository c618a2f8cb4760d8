"""What breaks of a stack in mid-flow, and is mended, as operators and the world do it."""

from __future__ import annotations

import contextlib
from contextlib import closing

from harness.core.scenarios import CUT_CONNECTIONS, DATABASE_RESTART, SERVICE_RESTART, fault_of
from harness.machine.errors import InfraError
from harness.stack.database.admin import answers
from harness.stack.database.server import Address
from harness.stack.evidence import blaming
from harness.stack.proxy.relay import Break
from harness.stack.service.launcher import RunningService, ServiceError
from harness.stack.service.migration import await_ready
from harness.stack.stacks import Stack

_CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def break_in(stack: Stack, scenario: str) -> Break:
    """Return what breaks of a stack in a scenario that has a fault.

    Raises:
        InfraError: where nobody may break it.
    """
    fault, name = fault_of(scenario), scenario.partition("=")[0]
    running, address, home = stack.running, stack.address, stack.home
    if fault is None or address is None or home is None:
        raise InfraError(f"{scenario}: {running.service.name} is not the run's own to break")

    def restart_database() -> str:
        home.revive()
        return running.url

    def do_nothing() -> str:
        return running.url

    if name == SERVICE_RESTART:
        return Break(lambda: _restart(running, address), refuses=fault.refuses)
    if name == CUT_CONNECTIONS:
        return Break(lambda: _cut(running, address))
    if name == DATABASE_RESTART:
        return Break(restart_database, is_broken=lambda: not answers(address))
    return Break(do_nothing, refuses=fault.refuses, latency=fault.latency)


def _restart(running: RunningService, address: Address) -> str:
    running.restart()
    # Whether it has ended by itself clients find out, and then everybody is told.
    with contextlib.suppress(ServiceError), blaming(running, address):
        await_ready(running)
    return running.url


def _cut(running: RunningService, address: Address) -> str:
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(_CUT)
        if not cursor.rowcount:
            # A cell that met no fault must not pass for one that did.
            raise InfraError(f"{running.service.name} has no connection to cut: {CUT_CONNECTIONS}")
    return running.url
