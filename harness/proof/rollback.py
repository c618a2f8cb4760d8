"""Whether an operator may go back: the previous service, started again on the newer schema.

The metadata service of a release never looks at the schema; its migration service does, and the
start script of its image asks that one first. Source: facts about the released services.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from uuid import uuid4

import requests

from harness.machine.errors import InfraError, in_words
from harness.machine.processes import tail
from harness.machine.web import ask
from harness.proof.contract import Contract, exercise
from harness.stack.database.server import Address
from harness.stack.evidence import check_not_killed
from harness.stack.service.launcher import RunningService
from harness.stack.service.migration import await_answer

_READY_SECONDS = 20.0
"""Released services answer within a second of their start; the end of a process is seen at once."""

_REQUEST_SECONDS = 30.0
_LOG_LINES = 3
_PROBLEMS_TOLD = 3
_SHOWN = 200
"""Characters of a log line or answer that the evidence quotes."""


@dataclass(frozen=True)
class Rollback:
    """Whether the way back is open.

    Attributes:
        safe: every question was answered well.
        evidence: one sentence per question; what speaks against it comes first.
    """

    safe: bool
    evidence: tuple[str, ...]


def verdict(
    running: RunningService,
    address: Address,
    runs: Sequence[tuple[str, str]],
    wrong: Callable[[Contract], Sequence[str]],
) -> Rollback:
    """Judge a previous service, freshly started and not brought up, on a newer schema.

    Args:
        running: the previous service, started over the migrated database.
        address: the database.
        runs: (flow, run) as clients show them, which the service must be able to read.
        wrong: tells what of a contract is wrong: what the service never did is not the way's fault.

    Raises:
        InfraError: when the machine took the service or its database away meanwhile.
    """
    answers: list[_Answer] = []
    for answer in _answers(running, address, runs, wrong):
        # At once: what the machine took from it is back after a restart, and is not its fault.
        if not answer.good:
            check_not_killed(running, address)
        answers.append(answer)
    answers.sort(key=attrgetter("good"))
    return Rollback(
        all(answer.good for answer in answers), tuple(answer.sentence for answer in answers)
    )


@dataclass(frozen=True)
class _Answer:
    good: bool
    sentence: str


def _answers(
    running: RunningService,
    address: Address,
    runs: Sequence[tuple[str, str]],
    wrong: Callable[[Contract], Sequence[str]],
) -> Iterator[_Answer]:
    """Yield the answer to each question, which is asked only then."""
    yield _migration_answers(running)
    starts = _starts(running)
    yield starts
    # One that does not start can neither read nor write.
    if starts.good:
        yield _reads(running, runs)
        yield _writes(running, address, wrong)


def _migration_answers(running: RunningService) -> _Answer:
    """Ask what the start script of the image asks before it starts the metadata service."""
    if running.migration_url is None:
        return _Answer(True, "It has no migration API that could refuse the schema.")
    try:
        _await_ping(running, running.migration_url)
        response = ask("GET", f"{running.migration_url}/version", seconds=_REQUEST_SECONDS)
    except (InfraError, requests.RequestException) as error:
        return _Answer(False, f"Its migration API does not answer: {_reason(running, error)}.")
    answer = f"GET /version with {response.status_code}: {_short(response.text)}"
    if response.ok:
        return _Answer(True, f"Its migration API answers {answer}.")
    return _Answer(
        False,
        f"Its migration API answers {answer}; the start script of its image asks this first, so"
        " the image does not boot.",
    )


def _starts(running: RunningService) -> _Answer:
    """Restart as an operator would: the metadata API of some kinds starts only then."""
    try:
        running.restart()
        _await_ping(running, running.url)
    except InfraError as error:
        return _Answer(False, f"Its metadata API does not start: {_reason(running, error)}.")
    return _Answer(True, "Its metadata API starts and answers /ping.")


def _reads(running: RunningService, runs: Sequence[tuple[str, str]]) -> _Answer:
    for flow_id, run_id in runs:
        run = f"{running.url}/flows/{flow_id}/runs/{run_id}"
        try:
            problem = _unread(run)
        # An answer of another shape is as good as none.
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            problem = f"{run}: {in_words(error)}"
        if problem:
            return _Answer(False, f"It does not read the runs of the newer service: {problem}.")
    told = f"{len(runs)} of {len(runs)} runs" if runs else "no run, for there is none,"
    return _Answer(True, f"It reads {told} with their steps and tasks.")


def _unread(run: str) -> str:
    """Return what of a run cannot be read; empty when all can."""
    for path in (run, f"{run}/steps"):
        response = ask("GET", path, seconds=_REQUEST_SECONDS)
        if not response.ok:
            return f"GET {path} answers {response.status_code}: {_short(response.text)}"
    steps = [step["step_name"] for step in response.json()]
    if not steps:
        return f"GET {run}/steps answers no step"
    for step in steps:
        path = f"{run}/steps/{step}/tasks"
        response = ask("GET", path, seconds=_REQUEST_SECONDS)
        if not response.ok or not response.json():
            return f"GET {path} answers {response.status_code}: {_short(response.text)}"
    return ""


def _writes(
    running: RunningService, address: Address, wrong: Callable[[Contract], Sequence[str]]
) -> _Answer:
    # A name of its own: the database may have been walked before.
    flow_id = f"RollbackContract{uuid4().hex[:12]}"
    try:
        problems = wrong(exercise(running.url, address, flow_id))
    except InfraError as error:
        return _Answer(False, f"It stops answering while it writes: {_reason(running, error)}.")
    if not problems:
        return _Answer(True, "It writes, and what it writes can be read back.")
    more = len(problems) - _PROBLEMS_TOLD
    told = "; ".join(problems[:_PROBLEMS_TOLD]) + (f"; and {more} more" if more > 0 else "")
    return _Answer(False, f"It does not write as it should: {told}.")


def _reason(running: RunningService, error: Exception) -> str:
    """Return the first line of an error and the end of the service's log, in one line."""
    # The end of the log follows anyway, in fewer lines.
    first = str(error).splitlines()[0].partition("; last lines")[0]
    lines = [_short(line.strip()) for line in tail(running.log, _LOG_LINES).splitlines()]
    return f"{first}; its log ends: {' | '.join(lines) or '(empty)'}"


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN]}…"


def _await_ping(running: RunningService, base: str) -> None:
    url = f"{base}/ping"
    await_answer(running, url, what=f"GET {url}", seconds=_READY_SECONDS)
