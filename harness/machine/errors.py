"""The harness's own errors: what happened, where, and what to do next.

HarnessError
├── UsageError     bad input; raised before anything starts
└── InfraError     the harness or the machine broke, not the product under test
    └── EndedError     a part ended that should run; who is to blame is told by how it ended
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.machine.plain import plain


class HarnessError(Exception):
    """Base of every error that is shown to a user without a traceback."""

    def __str__(self) -> str:
        # It may repeat what a product printed.
        return plain(super().__str__())


class UsageError(HarnessError):
    """Input that cannot be run: it names what, where and the nearest valid choice."""


class InfraError(HarnessError):
    """A part of the harness or of the machine failed; the product was not judged."""


_SHELL = 128
"""A shell, an image's start script say, tells a signal by its number above this."""


_SIGNALS = {one.value: one.name for one in signal.Signals}


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        code: its exit code; below 0 the number of the signal that ended it.
        out_of_memory: whether it was ended for using more memory than it was given.
        removed: whether somebody took it away, and killed it by that: a container.
    """

    code: int
    out_of_memory: bool = False
    removed: bool = False

    @property
    def signal(self) -> str:
        """The name of the signal that ended it; empty for none."""
        number = -self.code if self.code < 0 else self.code - _SHELL
        return _SIGNALS.get(number, "")

    def __str__(self) -> str:
        if self.out_of_memory:
            return "was killed: it used more memory than it is given"
        if self.removed:
            return "was removed by somebody"
        return f"ended with exit code {self.code}" + (f" ({self.signal})" if self.signal else "")


class EndedError(InfraError):
    """A part of a run that should run has ended.

    Args:
        what: the part, as in ``the UI backend of v2.5.1``.
        ending: how it ended.
        more: what follows in the message.
        log: what it printed; None where nobody knows.
    """

    def __init__(self, what: str, ending: Ending, more: str = "", log: Path | None = None) -> None:
        super().__init__(f"{what} {ending}{more}")
        self.what = what
        self.ending = ending
        self.more = more
        self.log = log


def one_line(told: object) -> str:
    """Return what an error or an answer says without its line ends, harmless."""
    return " ".join(plain(str(told)).split())


def in_words(error: BaseException) -> str:
    """Return what an exception says with its type: a ``repr`` loses the one or the other."""
    said = str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def of_machine(error: OSError | MemoryError) -> str:
    """Return in one line what the machine refused: no room, no right, no memory, no handles."""
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"the machine: {error.strerror or in_words(error)}{where}"
    return "the machine: memory ran out"


_RUN_OUT = re.compile(
    # As the system says it, in whatever program's words.
    r"(?P<words>No space left on device|Disk quota exceeded|Too many open files"
    r"|Cannot allocate memory|\bMemoryError\b|Read-only file system"
    # Of a port that was free when it was chosen.
    r"|[Aa]ddress already in use)"
    # PostgreSQL, of a write that came to its end too early, says no cause.
    r"|could not write init file|Check free disk space"
)


def run_out(said: str) -> str:
    """Return what the machine has run out of, by what a program said; empty for nothing."""
    found = _RUN_OUT.search(said)
    if found is None:
        return ""
    return found["words"] or os.strerror(errno.ENOSPC)


def naming_shortage(said: str) -> str:
    """Return what was said; where the machine ran out of something, in one line that begins so."""
    out = run_out(said)
    if not out or said.startswith("the machine: "):
        return said
    return f"the machine: {out}: {said.splitlines()[0].rstrip(':')}"


@contextmanager
def naming_machine() -> Iterator[None]:
    """Raise what the machine refuses in the block as an InfraError that says it in one line."""
    try:
        yield
    except (OSError, MemoryError) as error:
        raise InfraError(of_machine(error)) from error
    except InfraError as error:
        if not run_out(str(error)):
            raise
        raise InfraError(naming_shortage(str(error))) from error


@contextmanager
def about(option: str) -> Iterator[None]:
    """Begin what a UsageError of the block says with an option, unless it begins with one."""
    try:
        yield
    except UsageError as error:
        if str(error).startswith("--"):
            raise
        raise UsageError(f"{option}: {error}") from error


def nearest(wrong: str, choices: Iterable[str]) -> str:
    """Return a `` (nearest: a, b)`` suffix for an error message, or an empty string."""
    # Below the library's cutoff of 0.6: names as short as versions are rarely so alike.
    close = difflib.get_close_matches(wrong, list(dict.fromkeys(choices)), n=3, cutoff=0.4)
    return f" (nearest: {', '.join(close)})" if close else ""


def refusal(remove: Callable[[], object]) -> list[str]:
    """Remove something; return a line on why it refuses to go, where it does.

    Args:
        remove: does it, and raises InfraError where it cannot.
    """
    try:
        remove()
    except InfraError as error:
        return [str(error)]
    return []
