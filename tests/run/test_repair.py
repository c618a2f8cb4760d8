"""What dies while a run goes on, really killed: who is blamed, and that the rest of it is done.

One run, a small client and the reference service: each test plants one fault, and finds what it
needs alive, whatever the one before it has killed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import resource
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from harness.client import proxied
from harness.client.cell import CellOutcome
from harness.core.outcome import Status
from harness.core.scenarios import Proxy
from harness.machine.errors import InfraError
from harness.machine.processes import free_port
from harness.proof import fingerprint
from harness.proof.requests import Exchange
from harness.run import clients
from harness.run.unit import OneStack, Unit
from harness.stack import evidence
from harness.stack.evidence import blaming
from harness.stack.proxy.relay import Relay
from harness.stack.reference import faults
from harness.stack.service import reference
from harness.stack.service.launcher import ServiceError
from harness.stack.service.migration import await_ready
from tests.run.conftest import Lab

pytestmark = pytest.mark.e2e


def _reason(outcome: CellOutcome) -> str:
    return outcome.checks["run"].reason


# The product's own: red, by name, and never done again.


@pytest.fixture
def planted(lab: Lab) -> Iterator[Callable[[str], None]]:
    """Plant a fault in the service that is started next; the one after the test has none."""

    planted: list[Any] = []

    def plant(fault: str) -> None:
        # As an operator would start it again: nobody is told, and it has the fault from now on.
        running: Any = lab.stack.running
        planted.append(running)
        running._env[faults.VARIABLE] = fault
        running.restart()
        await_ready(running)

    yield plant
    for running in planted:
        del running._env[faults.VARIABLE]
        running._process.kill()


@pytest.mark.parametrize(
    ("fault", "ended"),
    [
        ("exit-on:2", "ended with exit code 3 by itself"),
        ("abort-on:2", "ended with exit code -6 (SIGABRT) by itself"),
        ("segv-on:2", "ended with exit code -11 (SIGSEGV) by itself"),
    ],
)
def test_a_service_that_ends_by_itself_fails(lab, planted, fault, ended):
    planted(fault)
    outcome = lab.go()
    assert outcome.status is Status.FAIL
    told = f"the service reference-2.5 {ended}, while its database lives; under way:"
    assert _reason(outcome).startswith(f"{told} /flows/OddFlow/run; it said last: ")
    assert f"planted fault {fault}" in outcome.evidence["service"].read_text(encoding="utf-8")
    assert len(lab.attempts) == 1, "what the product does wrong is not done again"
    lab.run.stacks.tell_ended()
    assert any(ended in problem for problem in lab.service)
    assert lab.go().status is Status.PASS, "the next cell has a stack that lives"


def test_a_service_that_ends_while_its_contract_is_asked_is_told_with_the_request(lab, planted):
    planted("abort-on:1")
    stack = lab.stack
    with closing(stack.database.address.connect()) as connection:
        exchange = Exchange(stack.running.url, connection, ["Odd"])
        with pytest.raises(ServiceError) as told, blaming(stack.running, stack.database.address):
            exchange.ask("GET", "/flows/Odd")
    assert "(SIGABRT) by itself" in str(told.value)
    assert "; under way: GET /flows/Odd; last lines of" in str(told.value)


def test_a_service_that_does_not_start_fails(lab, monkeypatch):
    os.kill(lab.pids["service"], signal.SIGKILL)
    monkeypatch.setenv(faults.VARIABLE, "no-such-fault")
    outcome = lab.go()
    assert outcome.status is Status.FAIL
    assert "ended with exit code 2 by itself" in _reason(outcome)
    # What does not start is not tried again: the tests after this one need another.
    lab.run.stacks._stacks.clear()


def test_a_service_that_ends_when_all_checks_have_passed_is_told(lab, planted):
    planted("exit-on:9")
    assert lab.go().status is Status.PASS
    for _ in range(9):
        with contextlib.suppress(requests.RequestException):
            requests.get(f"{lab.stack.running.url}/flows/Nobody", timeout=5)
    assert any("exit code 3 by itself" in problem for problem in lab.service)


def test_a_service_that_hangs_is_told_from_a_client_that_is_slow(lab, planted, monkeypatch):
    planted("hang-on:2")
    monkeypatch.setattr(evidence, "_ANSWER_SECONDS", 2.0)
    hung = lab.go()
    assert hung.status is Status.TIMEOUT
    silent = "the service reference-2.5 runs, but does not answer GET /flows within 2 s"
    assert _reason(hung) == f"flow was not done within 12 s (--timeout); {silent}"
    os.kill(lab.pids["service"], signal.SIGKILL)
    slow = lab.go("time.sleep(600)")
    assert slow.status is Status.TIMEOUT
    assert _reason(slow).endswith("; the service reference-2.5 answers: the client is slow")


@pytest.mark.parametrize("walks", [False, True], ids=["compat", "a walk"])
def test_a_service_that_hangs_costs_the_next_cell_nothing(lab, planted, monkeypatch, walks):
    planted("hang-on:1")
    monkeypatch.setattr(evidence, "_ANSWER_SECONDS", 1.0)
    stack = lab.stack
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{stack.running.url}/flows/Nobody", timeout=1)
    # Started again it has the fault no more: it is told by what it was.
    running: Any = stack.running
    monkeypatch.delitem(running._env, faults.VARIABLE)
    watched = OneStack(stack)
    outcome = lab.go(stacks=watched if walks else None)
    assert (outcome.status, len(lab.attempts)) == (Status.PASS, 1)
    told = "the service reference-2.5 runs, but does not answer GET /flows within 1 s"
    assert any(told in one for one in (watched.repaired if walks else lab.notes))
    assert watched.problems == []


# The machine's: done again, on what takes the place of what died.


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("service", "the service reference-2.5 was killed from outside, by SIGKILL"),
        ("database", "the database does not answer any more: "),
    ],
)
def test_a_part_that_is_killed_is_replaced_and_its_cell_done_again(lab, part, said):
    pid = lab.pids[part]
    outcome = lab.go(f"once() and (os.kill({pid}, signal.SIGKILL), time.sleep(600))")
    assert outcome.status is Status.PASS
    first, second = lab.attempts
    assert (first.status, second.status) == (Status.INFRA, Status.PASS)
    assert first.checks["run"].reason.startswith(said)
    assert first.seconds < 10, "a dead part does not cost a whole --timeout"
    assert first.evidence["flow"] != second.evidence["flow"]
    assert any(said in note and "replaced" in note for note in lab.notes)
    assert lab.go().status is Status.PASS


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_a_client_that_is_killed_is_infra_by_the_name_of_the_signal(lab, name):
    outcome = lab.go(f"once() and os.kill(os.getpid(), signal.{name})")
    assert outcome.status is Status.PASS
    first, _ = lab.attempts
    assert (first.status, first.checks["run"].reason) == (
        Status.INFRA,
        f"flow was killed from outside, by {name}",
    )


def test_a_proxy_that_ends_is_replaced_and_its_cell_done_again(lab, monkeypatch):
    proxies: list[Relay] = []

    def one_that_ends(*given: Any, **named: Any) -> Relay:
        proxies.append(Relay(*given, **named))
        if len(proxies) == 1:
            proxies[0]._server.shutdown()
        return proxies[-1]

    monkeypatch.setattr(proxied, "Relay", one_that_ends)
    monkeypatch.setattr(proxied, "proxy_of", lambda _: Proxy())
    outcome = lab.go()
    assert outcome.status is Status.PASS
    first, second = lab.attempts
    assert (first.status, second.status) == (Status.INFRA, Status.PASS)
    assert first.checks["run"].reason == "the proxy between client and service ended"
    assert first.seconds < 10, "it does not cost a whole --timeout"


def test_a_port_that_is_taken_meanwhile_is_no_fault_of_the_service(lab, monkeypatch):
    os.kill(lab.pids["service"], signal.SIGKILL)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        ports = itertools.chain([other.getsockname()[1]], iter(free_port, None))
        monkeypatch.setattr(reference, "free_port", lambda: next(ports))
        outcome = lab.go()
    assert (outcome.status, len(lab.attempts)) == (Status.PASS, 1)


def test_a_client_that_crashes_fails(lab):
    outcome = lab.go("os.kill(os.getpid(), signal.SIGSEGV)")
    assert outcome.status is Status.FAIL
    assert len(lab.attempts) == 1


def _limited(what: str, most: str, then: str) -> str:
    """Return what a client does that is given less of something, once."""
    hard = f"resource.getrlimit(resource.RLIMIT_{what})[1]"
    limit = f"resource.setrlimit(resource.RLIMIT_{what}, ({most}, {hard}))"
    return f"import resource\n    once() and ({limit}, {then})"


@pytest.mark.parametrize(
    ("work", "out"),
    [
        ("once() and open('/dev/full', 'w').write('x' * 100000)", "No space left on device"),
        (_limited("NOFILE", "3", "open('/dev/null')"), "Too many open files"),
        (_limited("AS", "200 << 20", "bytes(400 << 20)"), "MemoryError"),
    ],
    ids=["disk", "handles", "memory"],
)
def test_a_machine_that_runs_out_of_something_is_infra(lab, work, out):
    outcome = lab.go(work)
    assert outcome.status is Status.PASS
    first, _ = lab.attempts
    assert (first.status, first.checks["run"].reason) == (Status.INFRA, f"the machine: {out}")


def test_no_more_handles_are_named_and_the_next_cell_has_its_own(lab):
    lab.stack.check_alive()
    unit = Unit(lab.cell(), lab.python)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    # A few are left, as what ends gives some back: enough for the journal, not for a client.
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, hard))
    try:
        (outcome,) = lab.run.execute([unit], lab.run.stacks)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert outcome.status is Status.INFRA
    assert "Too many open files" in _reason(outcome)
    assert lab.go().status is Status.PASS


@contextlib.contextmanager
def _closed(folder: Path) -> Iterator[None]:
    """Let nobody make anything in a folder; what holds root, too, not every file system knows."""
    if os.geteuid():
        folder.chmod(0o555)
    elif subprocess.run(["chattr", "+i", str(folder)], check=False, capture_output=True).returncode:
        pytest.skip("this file system has no file that root may not change")
    try:
        yield
    finally:
        if os.geteuid():
            folder.chmod(0o755)
        else:
            subprocess.run(["chattr", "-i", str(folder)], check=True)


def test_no_right_to_write_is_named_and_the_next_cell_has_its_own(lab):
    lab.go()
    cells = lab.run.folder.logs_of("any").parent
    with _closed(cells):
        outcome = lab.go()
    assert outcome.status is Status.INFRA
    told = r"the machine: (Permission denied|Operation not permitted): "
    assert re.match(told + re.escape(str(cells)), _reason(outcome))
    assert lab.go().status is Status.PASS


# As Metaflow leaves a run whose task was killed: its own program fails, and ends well.
TASK_KILLED = """\
with open(sys.argv[sys.argv.index("--run-id-file") + 1], "w") as file:
        file.write("77")
    os.makedirs("OddFlow/77/start/1")
    with open("OddFlow/77/start/1/0.runtime", "w") as file:
        file.write('{"return_code": -9, "killed": false, "success": false}')
    sys.exit(1)
"""


@pytest.mark.parametrize(
    ("work", "status"),
    [
        ("sys.exit(137)", Status.INFRA),
        (TASK_KILLED, Status.INFRA),
        ("sys.exit(1)", Status.FAIL),
    ],
    ids=["a program", "a task", "a neighbour's"],
)
def test_a_kill_for_want_of_memory_excuses_whom_it_hit(lab, monkeypatch, work, status):
    counts = itertools.count()
    monkeypatch.setattr(clients, "memory_kills", lambda: next(counts))
    lab.go(work)
    first = lab.attempts[0]
    assert first.status is status
    told = "memory ran out: the kernel killed a process meanwhile"
    assert (first.checks["run"].reason == told) == (status is Status.INFRA)
    assert len(lab.attempts) == (2 if status is Status.INFRA else 1)


def test_a_task_that_is_killed_is_infra_by_the_name_of_the_signal(lab):
    lab.go(TASK_KILLED)
    first, _ = lab.attempts
    assert (first.status, first.checks["run"].reason) == (
        Status.INFRA,
        "a task was killed from outside, by SIGKILL",
    )


def test_variables_of_the_machine_are_not_heeded(lab, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    # A new stack: its service is waited for, brought up and asked.
    os.kill(lab.pids["service"], signal.SIGKILL)
    assert lab.go().status is Status.PASS


# In a walk there is one database: its parts are started again on it.


def test_in_a_walk_a_service_that_ends_again_when_it_is_started_again_fails(lab, monkeypatch):
    stack = lab.stack
    os.kill(lab.pids["service"], signal.SIGSEGV)
    lab.stack.running._process.wait(10)

    def ends() -> None:
        stack.running.check_alive()

    monkeypatch.setattr(stack.running, "restart", ends)
    outcome = lab.go(stacks=OneStack(stack))
    assert outcome.status is Status.FAIL
    assert "(SIGSEGV) by itself, while its database lives" in _reason(outcome)
    monkeypatch.undo()
    assert lab.go().status is Status.PASS


@pytest.mark.parametrize("part", ["service", "database"])
def test_in_a_walk_what_is_killed_is_started_again_on_the_same_data(lab, part):
    stack = lab.stack
    lab.go()
    before = fingerprint.take(stack.database.address)
    watched, pid = OneStack(stack), lab.pids[part]
    kill = f"once() and (os.kill({pid}, signal.SIGKILL), time.sleep(600))"
    assert lab.go(kill, watched).status is Status.PASS
    first, second = lab.attempts
    assert (first.status, second.status) == (Status.INFRA, Status.PASS)
    assert fingerprint.compare(before, stack.database.address) == []
    assert watched.problems == []
    assert len(watched.repaired) == 1
    # Who used it in parallel, and has not looked yet, does not find alive what was started again.
    watched.stack.watch()
    for look in (stack.watch, stack.check_alive):
        with pytest.raises(
            InfraError, match=r"killed from outside, by SIGKILL|not answer any more"
        ):
            look()


def test_in_a_walk_a_service_that_ends_by_itself_is_a_problem_of_its_stage(lab, planted):
    planted("exit-on:2")
    watched = OneStack(lab.stack)
    assert lab.go(stacks=watched).status is Status.FAIL
    watched.look()
    (problem,) = watched.problems
    assert problem.startswith("the service reference-2.5 ended with exit code 3 by itself")
