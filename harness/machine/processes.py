"""Processes the harness starts: marked, logged, awaited by condition and ended as whole trees."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn

from harness.machine.errors import EndedError, Ending, InfraError
from harness.machine.output import OF_PART, Drain, Output

MARK = "METAFLOW_COMPAT_MARK"
"""Environment variable every process started here carries, and its children inherit."""

HOST = "127.0.0.1"
"""The address of this machine that what a run starts listens on."""

# The range that the system chooses from for whoever calls out (ip(7)).
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Below it are the ports that services are known by; those of the UI and S3 are below it, too.
_LOWEST_PORT = 20_000
_PORTS_TRIED = 20
# A chosen port is nobody else's until so many others were chosen: what it is for has begun by then.
_PORTS_KEPT = 64
# Open files that each keep one chosen port from being chosen again.
_kept: deque[int] = deque()
# Released services answer 0.6 s after their start (measured): longer pauses would show.
_POLL_SECONDS = 0.02
# Released metadata services end at once when asked (measured); the grace is for all else.
_GRACE_SECONDS = 5.0


def mark_own(mark: str) -> None:
    """Mark what this process starts by itself from now on, without a ManagedProcess.

    Args:
        mark: what it belongs to.
    """
    os.environ[MARK] = mark


def disown(mark: str) -> None:
    """End what ``mark_own`` began, unless another part of this process has done so since."""
    if os.environ.get(MARK) == mark:
        del os.environ[MARK]


def marked(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the mark of what this process starts by itself, if it has one."""
    own = os.environ.get(MARK)
    return {**environment, MARK: own} if own else dict(environment)


def free_port(host: str = HOST) -> int:
    """Return a TCP port of an address of this machine: free now, and nobody else's soon.

    Between this answer and the server that listens, any process that calls out may be given one of
    the ports that the system keeps for that, so one below them is chosen where there are enough;
    and it is not chosen a second time, by this process or another harness on this machine.
    """
    quiet = _never_outgoing()
    for port in random.sample(quiet, min(_PORTS_TRIED, len(quiet))):
        if is_free(port, host) and _keep(port):
            return port
    port = _systems_choice(host)
    for _ in range(_PORTS_TRIED):
        if _keep(port):
            break
        port = _systems_choice(host)
    return port


def _systems_choice(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _keep(port: int) -> bool:
    """Keep a port from being chosen again; return False when somebody keeps it already.

    Its sign is a socket with a name (unix(7), "abstract"): known wherever the port would be, and
    gone with the process. Elsewhere than on Linux there are none, and nothing is kept.
    """
    with socket.socket(socket.AF_UNIX) as sign:
        try:
            sign.bind(f"\0metaflow-compat-port-{port}")
        except OSError as error:
            return error.errno != errno.EADDRINUSE
        _kept.append(sign.detach())
    if len(_kept) > _PORTS_KEPT:
        os.close(_kept.popleft())
    return True


def _never_outgoing() -> range:
    """Return the ports below those that Linux gives to connections; empty elsewhere."""
    try:
        lowest = int(_OUTGOING.read_text(encoding="ascii").split()[0])
    except OSError:
        lowest = 0
    return range(_LOWEST_PORT, lowest)


def is_free(port: int, host: str = HOST) -> bool:
    """Tell whether a server could listen on a TCP port of an address of this machine now."""
    return not why_not(port, host)


def why_not(port: int, host: str = HOST) -> str:
    """Return why no server could listen on a TCP port of an address now; empty when it could."""
    with socket.socket() as probe:
        # As servers do: what was closed a moment ago must not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            return str(getattr(error, "strerror", None) or error)
        return ""


def wait_until(
    condition: Callable[[], bool], *, seconds: float, what: str, log: Path | None = None
) -> None:
    """Return as soon as ``condition()`` is true.

    Args:
        condition: asked again and again; an exception it raises ends the wait.
        seconds: how long to ask at most.
        what: what is awaited, for the error: ``the metadata service at URL``.
        log: a file whose last lines explain why it never came.

    Raises:
        InfraError: when it is still false after ``seconds``.
    """
    for _ in moments(seconds):
        if condition():
            return
    raise InfraError(f"{what} was not ready within {seconds:g} s{tail_note(log)}")


def moments(seconds: float, pause: float = _POLL_SECONDS) -> Iterator[None]:
    """Yield at once, and again and again with pauses, until the time is over: when to ask anew.

    Args:
        seconds: for how long.
        pause: between two questions, in seconds.
    """
    deadline = time.monotonic() + seconds
    yield
    while time.monotonic() <= deadline:
        time.sleep(pause)
        yield


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log file, or an empty string when there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def tail_note(log: Path | None) -> str:
    """Return ``; last lines of LOG:`` with them, to end an error message with."""
    if log is None:
        return ""
    return f"; last lines of {log}:\n{tail(log) or '(empty)'}"


class ManagedProcess:
    """A process in a group of its own, whose output goes to a file (see ``Output``).

    Args:
        command: program and arguments.
        env: the whole environment; the mark is added.
        mark: what the process belongs to, to find its whole tree again.
        log: appended to with both outputs.
        errors: appended to with the standard error instead; None for the log.
        cwd: where it runs.
        user: user name or id to run as; root only.
        most: bytes that are kept of each output, beside the last ones.
        outlives: whether it may run on when this one has ended: then it writes to the files itself.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        mark: str,
        log: Path,
        errors: Path | None = None,
        cwd: Path | None = None,
        user: int | None = None,
        most: int = OF_PART,
        outlives: bool = False,
    ) -> None:
        self.command = list(command)
        self.mark = mark
        self.log = log
        self._drains: list[Drain] = []
        with contextlib.ExitStack() as opened:
            targets = [
                opened.enter_context(_own_file(path)) if outlives else self._drain(path, most)
                # The same file opened twice would not keep the order of what is printed.
                for path in filter(None, (log, errors))
            ]
            try:
                self._process = self._popen(env, targets, cwd, user)
            except BaseException:
                for drain in self._drains:
                    drain.give_up()
                raise
        for drain in self._drains:
            drain.start()

    def _drain(self, path: Path, most: int) -> int:
        self._drains.append(Drain(Output(path, most)))
        return self._drains[-1].writing

    def _popen(
        self,
        env: Mapping[str, str],
        targets: Sequence[int | BinaryIO],
        cwd: Path | None,
        user: int | None,
    ) -> subprocess.Popen[bytes]:
        output, *errors = targets
        return subprocess.Popen(
            self.command,
            env={**env, MARK: self.mark},
            cwd=cwd,
            # Nobody answers a program that asks: on a terminal it would wait for ever.
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors[0] if errors else subprocess.STDOUT,
            # Ctrl-C reaches the harness alone, which ends its processes in the right order.
            start_new_session=True,
            user=user,
            group=user,
            # Another user would keep root's supplementary groups otherwise.
            extra_groups=None if user is None else [],
        )

    @property
    def pid(self) -> int:
        """The process id, also the id of its group."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs; all it printed is in the log then."""
        return self._settled(self._process.poll())

    def wait(self, seconds: float | None) -> int | None:
        """Wait for the end; return the exit code, or None when it still runs after ``seconds``.

        Without a limit, which is None, it returns when the process has ended.
        """
        if seconds is not None and self._process.poll() is None:
            # Where the kernel tells: subprocess itself looks again and again, up to 50 ms too late.
            told = _ends(self.pid, seconds)
            if told is not None:
                seconds = None if told else 0.0
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._settled(self._process.wait(timeout=seconds))
        return None

    def _settled(self, code: int | None) -> int | None:
        if code is not None:
            for drain in self._drains:
                drain.settle()
        return code

    def check_logged(self) -> None:
        """Raise OSError when something that it printed could not be written down."""
        for drain in self._drains:
            if drain.output.refused is not None:
                raise drain.output.refused

    def check_alive(self, what: str) -> None:
        """Raise EndedError with the last log lines when the process has ended."""
        code = self.poll()
        if code is not None:
            raise EndedError(what, Ending(code), tail_note(self.log), self.log)

    def stop(self, first: signal.Signals = signal.SIGTERM) -> None:
        """End the process and its whole tree: asked first, killed after a grace. Safe twice."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                # To the group: tasks of a client and workers of a server are processes, too.
                os.killpg(self.pid, first)
            self.wait(_GRACE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill the process and its whole tree at once. Safe to call twice."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        # Reaped, or it stays a zombie for as long as the harness runs.
        self._process.wait()
        kill_marked(lambda mark: mark == self.mark)
        for drain in self._drains:
            drain.finish()


def _ends(pid: int, seconds: float) -> bool | None:
    """Tell as soon as a child of this process ends; False when it does not within ``seconds``.

    None where the kernel does not tell: elsewhere than on Linux, and in some sandboxes.
    """
    try:
        watched = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        return bool(poll.poll(1000 * seconds))
    finally:
        os.close(watched)


def _own_file(path: Path) -> BinaryIO:
    """Open a file for who writes to it by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    return os.fdopen(os.open(path, flags, 0o600), "ab")


def marked_processes() -> Iterator[tuple[int, str]]:
    """Yield (pid, mark) of every process that carries a mark, where /proc shows environments.

    A process that left its group (``setsid``) is still found this way. Elsewhere than on Linux
    nothing is yielded, and the process group is all that is ended.
    """
    # Each program that ends has all processes looked at, so by the cheapest calls there are: 40
    # processes take 0.7 ms, and by those of pathlib 1.1.
    prefix = f"\0{MARK}=".encode()
    for name in os.listdir("/proc") if Path("/proc").is_dir() else ():  # noqa: PTH208 - see above
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb", buffering=0) as file:  # noqa: PTH123
                variables = b"\0" + file.readall()
        except (OSError, ProcessLookupError):
            continue  # it ended meanwhile, or belongs to somebody else
        _, found, rest = variables.partition(prefix)
        if found:
            yield int(name), rest.partition(b"\0")[0].decode(errors="replace")


def kill_marked(belongs: Callable[[str], bool]) -> list[int]:
    """Kill every marked process whose mark ``belongs``; return the ids that were killed."""
    killed = []
    for pid, mark in marked_processes():
        if pid != os.getpid() and belongs(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
    return killed


def kill_parts(run: str, spared: str) -> list[int]:
    """Kill every process of a run's parts but one part, with all that is below it.

    Args:
        run: its id.
        spared: mark of that part, below the run's id.

    Returns:
        The ids that were killed.
    """
    own, kept = f"{run}/", f"{run}/{spared}/"
    return kill_marked(lambda mark: mark.startswith(own) and not f"{mark}/".startswith(kept))


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait for the end of the block: half done, it would be done twice."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no handler runs in any other thread
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _: came.append(got))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def raise_exit(signum: int, _frame: FrameType | None) -> NoReturn:
    """Handle a signal by unwinding, as Ctrl-C does; the exit code is the shell's."""
    sys.exit(128 + signum)
