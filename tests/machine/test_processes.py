"""Processes end as whole trees, waits end with a reason, ports are free."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from harness.machine import processes
from harness.machine.errors import InfraError
from harness.machine.processes import (
    MARK,
    ManagedProcess,
    disown,
    free_port,
    is_free,
    kill_marked,
    mark_own,
    marked,
    marked_processes,
    tail,
    tail_note,
    wait_until,
)

SLEEP = "import time; time.sleep(60)"

# Starts a child in its group and one that left it, says who they are, and waits.
FAMILY = f"""
import subprocess, sys, time
for session in (False, True):
    child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=session)
    print(child.pid, flush=True)
print("ready", flush=True)
time.sleep(60)
"""

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def mark() -> Iterator[str]:
    mark = f"test/{uuid4().hex}"
    yield mark
    kill_marked(lambda found: found == mark)


def _start(tmp_path: Path, mark: str, program: str, *, ready: bool = True) -> ManagedProcess:
    process = ManagedProcess(
        [sys.executable, "-c", program], env={}, mark=mark, log=tmp_path / "logs" / "log.txt"
    )
    if ready:
        wait_until(
            lambda: "ready" in tail(process.log), seconds=30, what="the program", log=process.log
        )
    return process


def _gone(pid: int) -> bool:
    """Whether a process is gone, or dead and waiting for its parent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_whole_tree_ends_also_who_left_the_group(tmp_path, mark, how):
    process = _start(tmp_path, mark, FAMILY)
    child, runaway = map(int, tail(process.log).split()[:2])
    assert os.getpgid(child) == process.pid
    assert os.getpgid(runaway) == runaway
    getattr(process, how)()
    for pid in (process.pid, child, runaway):
        wait_until(lambda pid=pid: _gone(pid), seconds=10, what=f"the end of {pid}")
    assert process.poll() is not None
    getattr(process, how)()


def test_a_tree_whose_parent_ended_by_itself_ends_too(tmp_path, mark):
    program = FAMILY.replace("time.sleep(60)\n", "")
    process = _start(tmp_path, mark, program)
    assert process.wait(10) == 0
    runaway = int(tail(process.log).split()[1])
    assert not _gone(runaway)
    process.kill()
    wait_until(lambda: _gone(runaway), seconds=10, what="the end of the runaway")


def test_another_mark_is_left_alone(tmp_path, mark):
    one = _start(tmp_path / "1", mark, STUBBORN)
    other = _start(tmp_path / "2", f"{mark}-2", STUBBORN)
    try:
        one.kill()
        assert other.poll() is None
        assert (other.pid, f"{mark}-2") in list(marked_processes())
    finally:
        other.kill()


def test_stop_asks_first_and_kills_after_a_grace(tmp_path, mark, monkeypatch):
    monkeypatch.setattr("harness.machine.processes._GRACE_SECONDS", 0.2)
    polite = _start(tmp_path / "1", mark, STUBBORN.replace("SIG_IGN", "default_int_handler"))
    polite.stop()
    assert "KeyboardInterrupt" in tail(polite.log)
    stubborn = _start(tmp_path / "2", mark, STUBBORN)
    stubborn.stop()
    assert stubborn.poll() == -signal.SIGKILL


@pytest.mark.parametrize("told", [True, False])
def test_waiting_for_the_end(tmp_path, mark, monkeypatch, told):
    if not told:
        monkeypatch.delattr("os.pidfd_open", raising=False)
    process = _start(tmp_path, mark, "print('ready', flush=True); input(); raise SystemExit(3)")
    assert process.wait(10) == 1, "standard input is empty"
    sleeper = _start(tmp_path / "2", mark, SLEEP, ready=False)
    assert sleeper.wait(0.05) is None
    sleeper.check_alive("the sleeper")
    sleeper.kill()
    ended = r"the sleeper ended with exit code -9 \(SIGKILL\); last lines of"
    with pytest.raises(InfraError, match=ended):
        sleeper.check_alive("the sleeper")


def test_the_environment_is_what_was_given_and_the_mark(tmp_path, mark):
    program = "import os, sys; print(sorted(os.environ.items()), file=sys.stderr)"
    process = ManagedProcess(
        [sys.executable, "-I", "-c", program],
        env={"A": "1", "LC_CTYPE": "C.UTF-8"},
        mark=mark,
        log=tmp_path / "log",
    )
    assert process.wait(10) == 0
    assert tail(process.log) == str([("A", "1"), ("LC_CTYPE", "C.UTF-8"), (MARK, mark)])


def test_wait_until_returns_at_once_when_it_is_so():
    started = time.monotonic()
    wait_until(lambda: True, seconds=60, what="nothing")
    assert time.monotonic() - started < 1


def test_wait_until_says_what_never_came_and_why(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(40)), encoding="utf-8")
    with pytest.raises(InfraError) as caught:
        wait_until(lambda: False, seconds=0.05, what="the thing at URL", log=log)
    message = str(caught.value)
    assert message.startswith(f"the thing at URL was not ready within 0.05 s; last lines of {log}:")
    assert message.endswith("line 38\nline 39")
    assert "line 24\n" not in message


def test_what_the_condition_raises_ends_the_wait():
    def broken() -> bool:
        raise InfraError("it died")

    with pytest.raises(InfraError, match="it died"):
        wait_until(broken, seconds=60, what="nothing")


def test_the_end_of_a_log(tmp_path):
    log = tmp_path / "log"
    assert tail(log) == ""
    assert tail_note(None) == ""
    assert tail_note(log).endswith("(empty)")
    log.write_bytes(b"a\n\xff\nb\n")
    assert tail(log, 2) == "\N{REPLACEMENT CHARACTER}\nb"


def test_a_free_port_can_be_listened_on():
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
        server.listen()
        assert server.getsockname()[1] > 1024


def test_a_free_port_is_no_connections_soon():
    """Else it is taken before the server listens that it is chosen for (seen in CI)."""
    lowest = int(processes._OUTGOING.read_text(encoding="ascii").split()[0])
    chosen = {free_port() for _ in range(20)}
    assert max(chosen) < lowest
    assert len(chosen) > 10


def test_no_port_is_chosen_twice_while_its_server_may_not_listen_yet(monkeypatch):
    """Seen in CI: one service was given the same port for its two APIs."""
    monkeypatch.setattr(processes, "_never_outgoing", lambda: range(30_000, 30_012))
    chosen = [free_port() for _ in range(3)]
    assert len(set(chosen)) == 3
    code = (
        "from harness.machine import processes\n"
        "processes._never_outgoing = lambda: range(30_000, 30_012)\n"
        "print([processes.free_port() for _ in range(9)])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others = ast.literal_eval(told.stdout)
    assert len(set(others)) == 9
    assert set(chosen).isdisjoint(others), "another harness on this machine chooses others"


def test_ports_are_kept_for_a_while_and_not_for_ever(monkeypatch):
    kept: deque[int] = deque()
    monkeypatch.setattr(processes, "_kept", kept)
    monkeypatch.setattr(processes, "_PORTS_KEPT", 2)
    # No ports at all, so that no other test's are among them.
    assert [processes._keep(port) for port in (70_001, 70_002, 70_001)] == [True, True, False]
    assert processes._keep(70_003)
    assert [processes._keep(port) for port in (70_003, 70_001)] == [False, True]
    for sign in kept:
        os.close(sign)


@pytest.mark.parametrize("told", [None, "1024\t65535\n"])
def test_where_no_port_is_kept_from_connections_the_system_chooses(tmp_path, monkeypatch, told):
    outgoing = tmp_path / "range"
    if told:
        outgoing.write_text(told)
    monkeypatch.setattr(processes, "_OUTGOING", outgoing)
    assert is_free(free_port())


def test_a_port_is_free_until_somebody_listens_on_that_address():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not is_free(port)
        assert is_free(port, "127.0.0.2")
    assert is_free(port)


def test_an_address_of_another_machine_has_no_free_port():
    # TEST-NET-1 is nobody's (RFC 5737).
    assert not is_free(1024, "192.0.2.1")
    with pytest.raises(OSError, match="assign"):
        free_port("192.0.2.1")


def test_what_this_process_starts_by_itself_is_marked(mark: str, monkeypatch):
    monkeypatch.delenv(MARK, raising=False)
    assert marked({"A": "b"}) == {"A": "b"}
    mark_own(mark)
    for given in (None, marked({"A": "b"})):
        child = subprocess.Popen([sys.executable, "-c", SLEEP], env=given)
        found = (child.pid, mark)
        wait_until(lambda: found in marked_processes(), seconds=20, what="the mark")  # noqa: B023
        assert kill_marked(lambda of: of == mark) == [child.pid]
        child.wait(20)
    # Another run of this process began meanwhile.
    disown(f"{mark}-other")
    assert marked({"A": "b"}) == {"A": "b", MARK: mark}
    disown(mark)
    assert marked({"A": "b"}) == {"A": "b"}
