"""What breaks in mid-flow in a scenario: the disk of the client, or what its stack is made of."""

from __future__ import annotations

import contextlib
import resource
from functools import partial

from harness.client.program import Surroundings
from harness.core.scenarios import FULL_DISK, fault_of
from harness.machine.errors import InfraError
from harness.machine.processes import marked_processes
from harness.stack.proxy.relay import Break


def break_of(scenario: str, surroundings: Surroundings) -> Break | None:
    """Return what breaks in a scenario; None where nothing does."""
    if fault_of(scenario) is None:
        return None
    if scenario.partition("=")[0] == FULL_DISK:
        return Break(partial(_fill_disk, surroundings))
    return surroundings.breaks(scenario)


def cannot_break(scenario: str) -> str:
    """Return why this machine cannot break what a scenario is about; empty when it can."""
    full = scenario.partition("=")[0] == FULL_DISK
    return "" if not full or hasattr(resource, "prlimit") else "it needs prlimit, which Linux has"


def _fill_disk(surroundings: Surroundings) -> str:
    """Let no program of a client that runs now, or that it starts, write to a file any more.

    As on a full disk each write fails, in the kernel's words. Whatever is started later may write.

    Raises:
        InfraError: when there is none: a cell that met no fault must not pass for one that did.
    """
    struck = 0
    for pid, mark in list(marked_processes()):
        if mark == surroundings.mark:
            with contextlib.suppress(ProcessLookupError):
                _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
                struck += 1
    if not struck:
        raise InfraError(f"no program of the client was found to keep from writing: {FULL_DISK}")
    assert surroundings.service_url is not None, "the scenario is one of sessions with a service"
    return surroundings.service_url
