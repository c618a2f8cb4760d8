"""Whose failure it is, by the evidence."""

from __future__ import annotations

import pytest

from harness.core.blame import Evidence, blame, blame_client
from harness.core.outcome import Status
from harness.machine.errors import Ending

ENDED = Evidence(service="v2.5.0", ending=Ending(1), asked="/flows/F/run")

# As Metaflow stores of a task how it ended.
TASK = '{"return_code": %d, "killed": %s, "success": false}'
_MORE = "\nGET /flows 200" * 5
CHECK = "ended the process that made it, by signal"


@pytest.mark.parametrize(
    ("evidence", "status", "said"),
    [
        (ENDED, Status.FAIL, "exit code 1 by itself, while its database lives; under way: /flows"),
        (Evidence(service="s", ending=Ending(0)), Status.FAIL, "exit code 0 by itself"),
        (Evidence(service="s", ending=Ending(-11)), Status.FAIL, "-11 (SIGSEGV) by itself"),
        # As a shell, an image's start script, tells of its child.
        (Evidence(service="s", ending=Ending(134)), Status.FAIL, "134 (SIGABRT) by itself"),
        (
            Evidence(service="s", ending=Ending(1), served="OSError: address already in use"),
            Status.INFRA,
            "the machine: address already in use: the service s ended with exit code 1",
        ),
        # What else it ran out of it may have used up itself; and long ago is not why it ended.
        (
            Evidence(
                service="s", ending=Ending(1), served="OSError: [Errno 24] Too many open files"
            ),
            Status.FAIL,
            "the service s ended with exit code 1 by itself",
        ),
        (
            Evidence(service="s", ending=Ending(1), served=f"address already in use{_MORE}"),
            Status.FAIL,
            "the service s ended with exit code 1 by itself",
        ),
        (Evidence(service="s", ending=Ending(-9)), Status.INFRA, "from outside, by SIGKILL"),
        (Evidence(service="s", ending=Ending(143)), Status.INFRA, "from outside, by SIGTERM"),
        (Evidence(service="s", ending=Ending(137, True)), Status.INFRA, "more memory than"),
        (Evidence(service="s", ending=Ending(-9, removed=True)), Status.INFRA, "removed by some"),
        (Evidence(service="s", database="gone", ending=Ending(1)), Status.INFRA, "more: gone"),
        (
            Evidence(service="s", database="FATAL: could not write init file"),
            Status.INFRA,
            "the machine: No space left on device: the database does not answer any more: FATAL:",
        ),
        (Evidence(service="s", store="no store"), Status.INFRA, "no store"),
        (Evidence(killed=1, said="exit code 137: x"), Status.INFRA, "the kernel killed a process"),
        (Evidence(killed=2, left=TASK % (-9, "false")), Status.INFRA, "the kernel killed 2"),
        (Evidence(killed=1, left="died with <Signals.SIGKILL: 9>."), Status.INFRA, "killed a pro"),
        (Evidence(left=TASK % (-9, "false")), Status.INFRA, "a task was killed from outside, by S"),
        (Evidence(left=TASK % (-11, "false") + TASK % (-15, "false")), Status.INFRA, "by SIGTERM"),
        (Evidence(said=f"{CHECK} 9"), Status.INFRA, "a check was killed from outside, by SIGKILL"),
        (Evidence(said="OSError: [Errno 28] No space left on device"), Status.INFRA, "No space"),
        (Evidence(said="OSError: [Errno 24] Too many open files"), Status.INFRA, "Too many open"),
        (Evidence(said="MemoryError"), Status.INFRA, "MemoryError"),
        (
            Evidence(
                service="s", said="ServiceException: 500", served="HINT: Check free disk space."
            ),
            Status.INFRA,
            "the machine: No space left on device",
        ),
        (Evidence(service="s", late=True, silent="GET /ping"), Status.TIMEOUT, "not answer GET"),
        (Evidence(service="s", late=True), Status.TIMEOUT, "the client is slow"),
    ],
)
def test_who_is_to_blame(evidence: Evidence, status: Status, said: str):
    found = blame(evidence)
    assert found is not None
    assert found.status is status
    assert said in found.sentence


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(),
        Evidence(service="s", said="ServiceException: 500"),
        Evidence(late=True),
        # A neighbour's process was killed, or Metaflow ended a task because another had failed.
        Evidence(killed=1, said="flow ended with exit code 1", left=TASK % (1, "false")),
        Evidence(killed=1, said="flow ended with exit code 1", left=TASK % (-9, "true")),
        # It crashed of its own, or returned a number that a shell might mean a signal by.
        Evidence(said="flow ended with exit code 1", left=TASK % (-11, "false")),
        Evidence(said="flow ended with exit code 1", left=TASK % (137, "false")),
        Evidence(said=f"{CHECK} 11"),
    ],
)
def test_what_speaks_against_nobody_is_the_clients_own(evidence: Evidence):
    assert blame(evidence) is None


@pytest.mark.parametrize(
    ("code", "infra"),
    [(-9, True), (-15, True), (-11, False), (-6, False), (1, False), (137, False)],
)
def test_a_client_that_somebody_killed_is_not_judged(code: int, infra: bool):
    assert (blame_client("flow", Ending(code)) is not None) == infra
