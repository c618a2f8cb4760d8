"""A client's programs: run in a clean environment, with a time limit, leaving nothing running."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cell.rows import Row
from harness.database import Address
from harness.errors import InfraError
from harness.processes import ManagedProcess, tail

# The last line of a traceback, with a message or without one, and what click says.
_ERROR = re.compile(
    r"\b\w*(Error|Exception|Conflict)\b.*:"
    r"|(^|\s)[\w.]*(Error|Exception|Conflict|Interrupt|Exit)$"
    r"|(^|\] )\w+(\.\w+)+: "
)
# Metaflow's own errors: a headline of words, and the message below it, both indented by four.
_HEADLINE = re.compile(r"    [A-Z][\w' -]*:$")
# Says nothing of the cause, which stands above it.
_NO_CAUSE = "    Step failure:"


class ClientError(Exception):
    """A client's program ended with an error; the text says how, with its last lines."""


class ClientTimeoutError(Exception):
    """A client's program was not done in time."""


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
        database: where the rows are; None for local metadata.
        service_log: the file whose growth during the cell is its evidence; None without.
        objects: lists what lies in the object store; it returns None where data is in files.
        tags: put on the run beside the probe's own.
        cancelled: tells whether the run is being ended; then no program is started any more.
    """

    python: Path
    work: Path
    logs: Path
    datastore: Mapping[str, str]
    mark: str
    timeout: float
    service_url: str | None = None
    database: Address | None = None
    service_log: Path | None = None
    objects: Callable[[], Sequence[Row] | None] = lambda: None
    tags: tuple[str, ...] = ()
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
            "LANG": "C.UTF-8",
            "USER": "compat",
            "HOME": str(self.work / "home"),
            "TMPDIR": str(self.work / "tmp"),
            "METAFLOW_HOME": str(self.work / "home" / ".metaflowconfig"),
            "METAFLOW_CLIENT_CACHE_PATH": str(self.work / "cache"),
            **self.datastore,
            **metadata,
        }


def run_program(
    around: Surroundings,
    arguments: Sequence[str],
    *,
    name: str,
    deadline: float,
    grace: float = 0.0,
) -> Path:
    """Run the client's Python and return the file with its output.

    Args:
        around: what it runs in.
        arguments: of the interpreter.
        name: of the output's file, and of the program in errors: ``flow``.
        deadline: when it is over, by ``time.monotonic()``.
        grace: seconds beyond the deadline, for a program that heeds it by itself.

    Raises:
        ClientError: when it ends with another exit code than 0.
        ClientTimeoutError: when it still runs at the deadline; its whole tree is killed.
        InfraError: when the run is being ended: what would answer it is gone.
    """
    around.check_not_cancelled()
    log = around.logs / f"{name}.txt"
    command = [str(around.python), *arguments]
    log.write_text(f"$ {shlex.join(command)}\n", encoding="utf-8")
    process = ManagedProcess(
        command,
        env=around.environment(),
        mark=around.mark,
        log=log,
        cwd=around.cwd,
    )
    try:
        around.check_not_cancelled()  # who ended the run meanwhile may not have found it to kill
        code = process.wait(max(0.0, deadline - time.monotonic()) + grace)
    finally:
        process.kill()
    if code is None:
        raise not_in_time(around, name)
    if code:
        raise ClientError(f"{name} ended with exit code {code}: {last_words(log)}")
    return log


def not_in_time(around: Surroundings, name: str) -> ClientTimeoutError:
    """Return the error of a program that was not done at the deadline."""
    return ClientTimeoutError(f"{name} was not done within {around.timeout:g} s (--timeout)")


def last_words(log: Path) -> str:
    """Return the last error of a client's output in its own words, else its last lines."""
    lines = [line.rstrip() for line in tail(log, 60).splitlines()]
    for number in range(len(lines) - 1, -1, -1):
        if _HEADLINE.match(lines[number]) and lines[number] != _NO_CAUSE:
            below = itertools.takewhile(_is_message, lines[number + 1 :])
            return " ".join(line.strip() for line in (lines[number], *below))
        if _ERROR.search(lines[number]):
            return lines[number].strip()
    return " / ".join(lines[-3:])


def _is_message(line: str) -> bool:
    """Tell whether a line below a headline belongs to it."""
    return line.startswith("    ") and not _HEADLINE.match(line)
