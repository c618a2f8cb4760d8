"""A client's programs: run in a clean environment, with a time limit, leaving nothing running."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.client.rows import Row
from harness.core.blame import blame_client
from harness.machine.errors import Ending, InfraError
from harness.machine.output import OF_PROGRAM, OURS, ours
from harness.machine.plain import plain
from harness.machine.processes import ManagedProcess, tail
from harness.machine.secrets import KNOWN
from harness.stack.database.server import Address
from harness.stack.proxy.relay import Break

# The last line of a traceback, with a message or without one, and what click says.
_ERROR = re.compile(
    r"\b\w*(Error|Exception|Conflict)\b.*:"
    r"|(^|\s)[\w.]*(Error|Exception|Conflict|Interrupt|Exit)$"
    r"|(^|\] )\w+(\.\w+)+: "
)
# Metaflow's own errors: a headline of words, and the message below it, both indented by four.
_HEADLINE = re.compile(r"    [A-Z][\w' -]*:$")
# Of a traceback: where each function was, the innermost last; and what else stands in one.
_FRAME = re.compile(r'(?:^|\] ) +File "([^"]+)", line (\d+), in (\S+)')
_OF_TRACEBACK = re.compile(r"(?:^|\] )  ")
# As every release names the request that it gave up.
_REQUEST = re.compile(r"Metadata request \((/[^\s)]*)\)")
# Says nothing of the cause, which stands above it.
_NO_CAUSE = "    Step failure:"


_LOOK_SECONDS = 2.0
"""How often what a program needs is asked whether it is there still."""


class ClientError(Exception):
    """A client's program broke; the text says how, with its last lines."""


class ClientTimeoutError(Exception):
    """A client's program was not done in time."""


def nothing_to_break(scenario: str) -> Break:
    """Raise InfraError: what a client runs on is none of the run's own."""
    raise InfraError(f"{scenario}: nothing that it breaks is the run's own")


@dataclass(frozen=True)
class Surroundings:
    """What a client's programs run in.

    Attributes:
        python: the client's interpreter.
        work: folder of their own for HOME, caches and temporary files.
        logs: folder for their output, and other evidence.
        datastore: environment variables of the datastore.
        mark: what the processes are marked with.
        timeout: seconds the cell may take, and reading the runs of earlier stages again.
        service_url: the metadata API; None for local metadata.
        settings: variables beside it: what a proxy in front of it wants.
        database: where the rows are; None for local metadata.
        service_log: the file whose growth during the cell is its evidence; None without.
        objects: lists what lies in the object store; it returns None where data is in files.
        texts: reads what is stored beside artifacts, by the end of a path; ``*`` is any part of it.
        tags: put on the run beside the probe's own.
        breaks: returns what a scenario breaks in mid-flow of what it runs on.
        watch: raises InfraError when what a program waits for can come no more.
        check_store: raises InfraError when the object store they were given is there no longer.
        cancelled: tells whether the run is being ended; then no program is started any more.
    """

    python: Path
    work: Path
    logs: Path
    datastore: Mapping[str, str]
    mark: str
    timeout: float
    service_url: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    database: Address | None = None
    service_log: Path | None = None
    objects: Callable[[], Sequence[Row] | None] = lambda: None
    texts: Callable[[str], Sequence[str]] = lambda _: ()
    tags: tuple[str, ...] = ()
    breaks: Callable[[str], Break] = nothing_to_break
    watch: Callable[[], None] = lambda: None
    check_store: Callable[[], None] = lambda: None
    cancelled: Callable[[], bool] = lambda: False

    def check_not_cancelled(self) -> None:
        """Raise InfraError when the run is being ended."""
        if self.cancelled():
            raise InfraError("the run was ended meanwhile")

    def make_folders(self) -> None:
        """Make the folders the environment names."""
        for name in ("home/.metaflowconfig", "tmp", "cache"):
            (self.work / name).mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)

    @property
    def cwd(self) -> Path:
        """Where programs run: the folder of local data, else the one of their own.

        Releases up to 2.19.39 write cards to ``.metaflow/mf.cards`` of the current folder, whatever
        the datastore's root, and read them from below that root; METAFLOW_CARD_LOCALROOT cannot
        join the two, because the newest ones ignore it (measured).
        """
        # With S3 data, too, it is set: what is not in the bucket stays in the cell's folder.
        return Path(self.datastore.get("METAFLOW_DATASTORE_SYSROOT_LOCAL", self.work))

    def environment(self) -> dict[str, str]:
        """Return the whole environment of a client: only what it needs, nothing of this machine's.

        USER must be set; METAFLOW_CLIENT_CACHE_PATH is otherwise one folder shared by all; the
        environment's bin comes first on PATH because ``@parallel`` spawns ``python`` (measured).
        """
        metadata = {"METAFLOW_DEFAULT_METADATA": "local"}
        if self.service_url is not None:
            metadata = {
                "METAFLOW_DEFAULT_METADATA": "service",
                "METAFLOW_SERVICE_URL": self.service_url,
            }
        return {
            "PATH": f"{self.python.parent}{os.pathsep}{os.defpath}",
            # What programs print must not depend on the machine's locale.
            "LANG": "C.UTF-8",
            # Nor on its zone: what takes UTC for local time, as services do (docs/findings.md), is
            # right in one and hours off in the next. A probe's action may set another.
            "TZ": "UTC",
            "USER": "compat",
            # Not the user's: a configuration in ~/.metaflowconfig would name another service.
            "HOME": str(self.work / "home"),
            # A killed client leaves temporary files, which go with the folder.
            "TMPDIR": str(self.work / "tmp"),
            "METAFLOW_HOME": str(self.work / "home" / ".metaflowconfig"),
            "METAFLOW_CLIENT_CACHE_PATH": str(self.work / "cache"),
            **self.datastore,
            **metadata,
            **self.settings,
        }


@dataclass(frozen=True)
class Program:
    """A program of a client.

    Attributes:
        name: of the file with its output, and in errors: ``flow``.
        command: program and arguments.
        environment: variables beside those of the cell.
        apart: whether the two outputs are wanted apart, too.
        grace: seconds beyond the deadline, for a program that heeds it by itself.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    apart: bool = False
    grace: float = 0.0


@dataclass(frozen=True)
class Finished:
    """A program that ended by itself.

    Attributes:
        code: its exit code.
        log: the command, and what it printed.
        stdout: its standard output; the log, where the two are not apart.
        stderr: its standard error; None where the two are not apart.
    """

    code: int
    log: Path
    stdout: Path
    stderr: Path | None = None


def run_program(surroundings: Surroundings, program: Program, deadline: float) -> Finished:
    """Run a program of the client to its end.

    Args:
        surroundings: what it runs in.
        program: what to run.
        deadline: when it is over, by ``time.monotonic()``.

    Raises:
        ClientTimeoutError: when it still runs at the deadline; its whole tree is killed.
        InfraError: when the run is being ended, or somebody else kills it: nobody can tell what
            would have come of it; or what it needs is gone.
    """
    surroundings.check_not_cancelled()
    log = surroundings.logs / f"{program.name}.txt"
    # A probe may have given it anything.
    said = KNOWN.text(plain(f"$ {shlex.join(program.command)}\n"))
    log.write_text(said, encoding="utf-8")
    stdout, stderr = log, None
    if program.apart:
        stdout, stderr = (surroundings.work / f"{program.name}.{name}" for name in ("out", "err"))
    try:
        code = _wait(surroundings, program, deadline, stdout, stderr)
    finally:
        # Also of a program that was killed: what it printed until then is evidence.
        if stderr is not None:
            _put_together(log, stdout, stderr)
    if code is None:
        raise not_in_time(surroundings, program.name)
    killed = blame_client(program.name, Ending(code))
    if killed is not None:
        surroundings.check_not_cancelled()
        raise InfraError(killed.sentence)
    return Finished(code, log, stdout, stderr)


def _wait(
    surroundings: Surroundings, program: Program, deadline: float, log: Path, errors: Path | None
) -> int | None:
    """Return the exit code of a program; None if it had to be killed."""
    # The probe's own variables come last: they may take the place of the cell's.
    process = ManagedProcess(
        program.command,
        env={**surroundings.environment(), **program.environment},
        mark=surroundings.mark,
        log=log,
        errors=errors,
        cwd=surroundings.cwd,
        most=OF_PROGRAM,
    )
    try:
        # Who ended the run meanwhile may not have found it to kill.
        surroundings.check_not_cancelled()
        code = _watched(surroundings, process, deadline + program.grace)
    finally:
        # Also when it ended by itself: it may have left children, which would write on.
        process.kill()
    process.check_logged()
    return code


def _watched(surroundings: Surroundings, process: ManagedProcess, deadline: float) -> int | None:
    """Return the exit code of a process, None at the deadline, while what it needs is there."""
    while True:
        left = max(0.0, deadline - time.monotonic())
        code = process.wait(min(left, _LOOK_SECONDS))
        if code is not None or left <= _LOOK_SECONDS:
            return code
        surroundings.watch()


def _put_together(log: Path, stdout: Path, stderr: Path) -> None:
    with log.open("ab") as output:
        for path in (stdout, stderr):
            if path.exists() and path.stat().st_size:
                output.write(ours(path.suffix[1:]).encode() + path.read_bytes())


def not_in_time(surroundings: Surroundings, name: str) -> ClientTimeoutError:
    """Return the error of a program that was not done at the deadline."""
    return ClientTimeoutError(f"{name} was not done within {surroundings.timeout:g} s (--timeout)")


def last_words(log: Path) -> str:
    """Return the last error of a client's output, with its place, else its last lines."""
    lines = [line.rstrip() for line in tail(log, 60).splitlines()]
    # The command line and the marks between outputs are ours (run_program).
    lines = [line for line in lines if not line.startswith(OURS)]
    # From the end: an earlier error may be that of an attempt that was tried again.
    for number in range(len(lines) - 1, -1, -1):
        if _HEADLINE.match(lines[number]) and lines[number] != _NO_CAUSE:
            below = itertools.takewhile(_is_message, lines[number + 1 :])
            return " ".join(line.strip() for line in (lines[number], *below))
        if _ERROR.search(lines[number]):
            return lines[number].strip() + _raised_at(lines[:number])
    return " / ".join(lines[-3:]) or "it printed nothing"


def request_under_way(log: Path) -> str:
    """Return the last request that a client says it gave up; empty for none."""
    return next(reversed(_REQUEST.findall(tail(log, 200))), "")


def _raised_at(above: Sequence[str]) -> str:
    """Return the place in the traceback that ends with these lines; empty without one."""
    for line in itertools.takewhile(_OF_TRACEBACK.search, reversed(above)):
        frame = _FRAME.search(line)
        if frame:
            path, number, function = frame.groups()
            # As readback.py says it: of a file that is not the probe's, whose it is, too.
            installed = "/lib/python" in path
            place = f"raised at {'/'.join(Path(path).parts[-3:])}" if installed else Path(path).name
            return f" ({place}:{number}, in {function})"
    return ""


def _is_message(line: str) -> bool:
    """Tell whether a line below a headline belongs to it."""
    return line.startswith("    ") and not _HEADLINE.match(line)
