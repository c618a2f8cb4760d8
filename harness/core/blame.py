"""Whose failure it is when something broke: by evidence, and by one rule. Pure.

docs/reading-a-report.md tells the rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.core.outcome import Status
from harness.machine.errors import Ending, naming_shortage, run_out

_OF_ITS_OWN = {
    "SIGSEGV",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGILL",
    "SIGSYS",
    "SIGTRAP",
}
"""Signals that a program brings upon itself; all others are sent to it."""

# As whoever saw a process end tells it: the harness, a shell, Python, and Metaflow of a task that
# it did not kill itself.
_SIGKILLED = re.compile(
    r"exit (?:code|status) (?:137|-9)\b|signal 9\b|SIGKILL"
    r'|"return_code": (?:137|-9), "killed": false'
)

# As Metaflow tells of a task that it did not kill itself, and the reader of the child that made a
# check.
_KILLED = re.compile(
    r'"return_code": -(?P<task>\d+), "killed": false'
    r"|ended the process that made it, by signal (?P<check>\d+)"
)

_TAKEN = re.compile("[Aa]ddress already in use")
_LAST_WORDS = 5
"""Lines: what Python, or a server over it, says when it ends, and a word or two on its way out."""


@dataclass(frozen=True)
class Blame:
    """Who is to blame.

    Attributes:
        status: ``infra`` for the machine, ``fail`` for the service under test, ``timeout`` where
            it is told who was slow.
        sentence: what happened.
    """

    status: Status
    sentence: str


@dataclass(frozen=True)
class Evidence:
    """What was found when something had gone wrong.

    Attributes:
        service: the service's name; empty where there is none.
        part: what of it is asked about, where that is not the service itself.
        database: what is wrong with the database; empty for nothing.
        store: what is wrong with the object store; empty for nothing.
        ending: how the service ended; None while it runs.
        asked: the request that was under way; empty where nobody knows.
        late: whether a client was not done in time.
        silent: what the service, though it runs, does not answer; empty for nothing.
        killed: how many processes the kernel has killed meanwhile for want of memory, of whomever.
        said: what the client said of its failure.
        left: what its programs printed, and what is stored of how its tasks ended.
        served: what the service printed meanwhile.
    """

    service: str = ""
    part: str = ""
    database: str = ""
    store: str = ""
    ending: Ending | None = None
    asked: str = ""
    late: bool = False
    silent: str = ""
    killed: int = 0
    said: str = ""
    left: str = ""
    served: str = ""

    @property
    def lives(self) -> bool:
        """Whether service and database run."""
        return not self.database and self.ending is None


def by_itself(ending: Ending) -> bool:
    """Tell whether a process ended of its own, and not by a hand from outside."""
    if ending.out_of_memory:
        return False
    return not ending.signal or ending.signal in _OF_ITS_OWN


def blame(evidence: Evidence) -> Blame | None:
    """Return who is to blame; None where the evidence speaks against nobody but the client.

    What others need comes first: a service may well end because its database has gone.
    """
    if evidence.database:
        said = f"the database does not answer any more: {evidence.database}"
        return Blame(Status.INFRA, naming_shortage(said))
    if evidence.store:
        return Blame(Status.INFRA, evidence.store)
    if evidence.ending is not None:
        return _of_service(evidence, evidence.ending)
    return _of_room(evidence) or _of_kill(evidence) or _of_time(evidence)


def _of_room(evidence: Evidence) -> Blame | None:
    """Return the machine where it ran out of something."""
    # The kernel counts for the whole machine: a neighbour's memory is no client's excuse.
    if evidence.killed and _SIGKILLED.search(f"{evidence.said}\n{evidence.left}"):
        processes = "a process" if evidence.killed == 1 else f"{evidence.killed} processes"
        return Blame(Status.INFRA, f"memory ran out: the kernel killed {processes} meanwhile")
    # A database that cannot write answers its service so, and that its client with 500.
    out = run_out(evidence.said) or run_out(evidence.served)
    return Blame(Status.INFRA, f"the machine: {out}") if out else None


def _of_kill(evidence: Evidence) -> Blame | None:
    """Return the machine where a task of the client, or one of its checks, was killed."""
    for found in _KILLED.finditer(f"{evidence.said}\n{evidence.left}"):
        what, number = ("a task", found["task"]) if found["task"] else ("a check", found["check"])
        blamed = blame_client(what, Ending(-int(number)))
        if blamed is not None:
            return blamed
    return None


def _of_time(evidence: Evidence) -> Blame | None:
    """Tell who was slow where a client was not done in time."""
    if not (evidence.late and evidence.service):
        return None
    service = f"the service {evidence.service}"
    if evidence.silent:
        return Blame(Status.TIMEOUT, f"{service} runs, but does not answer {evidence.silent}")
    return Blame(Status.TIMEOUT, f"{service} answers: the client is slow")


def _of_service(evidence: Evidence, ending: Ending) -> Blame:
    part = evidence.part or f"the service {evidence.service}"
    if not by_itself(ending):
        told = ending.out_of_memory or ending.removed
        how = ending if told else f"was killed from outside, by {ending.signal}"
        return Blame(Status.INFRA, f"{part} {how}")
    # Of a port that was free when it was chosen. What else a service runs out of it may have used
    # up itself, and what it said long before is not why it ended.
    last = "\n".join(evidence.served.splitlines()[-_LAST_WORDS:])
    if taken := _TAKEN.search(last):
        return Blame(Status.INFRA, f"the machine: {taken.group()}: {part} {ending}")
    asked = f"; under way: {evidence.asked}" if evidence.asked else ""
    return Blame(Status.FAIL, f"{part} {ending} by itself, while its database lives{asked}")


def blame_client(name: str, ending: Ending) -> Blame | None:
    """Return the machine where a client's program was killed, by nobody of the harness.

    Args:
        name: of the program, or what it is.
        ending: how it ended.
    """
    if by_itself(ending):
        return None
    # 128 and more is what a program may well return by itself.
    if ending.code >= 0:
        return None
    return Blame(Status.INFRA, f"{name} was killed from outside, by {ending.signal}")
