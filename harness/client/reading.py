"""Reads runs back through a client, in one process of that client for all of them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from harness.client.actions import Done
from harness.client.program import (
    ClientError,
    Program,
    Surroundings,
    last_words,
    not_in_time,
    run_program,
)
from harness.client.rows import OBJECTS, Row, missing_rows
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell
from harness.core.probes import ROWS, STORED
from harness.machine.plain import plain
from harness.stack.database.rows import rows_of_runs, run_rows
from harness.stack.database.server import Address

READBACK = Path(__file__).with_name("inside") / "readback.py"

_GRACE_SECONDS = 10.0
"""The program ends in time by itself; it may begin late, and has its answer to write."""


# The reader says not-run, instead of timeout, of what it had no time to begin.
_LATE = (Status.TIMEOUT, Status.NOT_RUN)


@dataclass(frozen=True)
class WrittenRun:
    """A run that a cell wrote.

    Attributes:
        run_id: as the client names it.
        inventory: what its own client listed of it when it was new.
        passed: names of the checks that it passed then: what failed was told then.
    """

    cell: Cell
    run_id: str
    inventory: dict[str, Any]
    passed: tuple[str, ...]

    @property
    def pathspec(self) -> str:
        """``FLOW/RUN``."""
        return f"{self.cell.probe.flow}/{self.run_id}"


@dataclass(frozen=True)
class EarlierRun:
    """A run of an earlier stage that its client reads again.

    Attributes:
        checked: whether the checks that it passed are made again; it is listed and compared in any
            case.
    """

    run: WrittenRun
    checked: bool


@dataclass(frozen=True)
class Request:
    """A run to read, and the checks to make on it.

    Attributes:
        run_id: of the probe's first run.
        checks: names of those to make.
        done: what came of the probe's actions; of a run of an earlier stage nothing is known.
        listed: whether the run is listed, too.
        by_path: whether one of its tasks is then fetched by its path, too.
    """

    cell: Cell
    run_id: str
    checks: tuple[str, ...]
    done: Mapping[str, Done] = field(default_factory=dict)
    listed: bool = True
    by_path: bool = False

    def run_of(self, action: str) -> str:
        """Return the id of an action's run, of the first run where it has none."""
        return (self.done[action].run_id if action in self.done else "") or self.run_id

    def question(self, database: Address | None) -> dict[str, Any]:
        """Return what the program in the client is told of it."""
        return {
            "flow_file": str(self.cell.probe.path),
            "flow": self.cell.probe.flow,
            "run_id": self.run_id,
            "checks": [self._check(name, database) for name in self.checks],
            "results": {name: _result(done) for name, done in self.done.items()},
            "listed": self.listed,
            "by_path": self.by_path,
        }

    def _check(self, name: str, database: Address | None) -> dict[str, Any]:
        probe = self.cell.probe
        check = next(one for one in self.cell.checks if one.name == name)
        kind = "stored" if check is STORED else "probe"
        if check.name == check.action:
            kind = probe.action(check.action).ends
        run_id = self.run_of(check.action)
        asked = {"name": name, "kind": kind, "action": check.action, "run_id": run_id}
        if ROWS in check.wants and database is not None:
            return {**asked, "rows": run_rows(database, probe.flow, run_id)}
        return asked


def _result(done: Done) -> dict[str, Any]:
    """Return what a check may know of an action."""
    finished = done.finished
    return {
        "run_id": done.run_id,
        "wrong": "it did not end as it should" if done.wrong else "",
        "code": finished.code if finished else None,
        "stdout": str(finished.stdout) if finished else "",
        "stderr": str(finished.stderr) if finished and finished.stderr else "",
    }


@dataclass(frozen=True)
class Answer:
    """What a client read of a run.

    Attributes:
        inventory: what its API lists of the run; None when it could not.
        error: why it could not.
        late: whether that is because it was not done in time.
    """

    checks: dict[str, CheckOutcome]
    inventory: dict[str, Any] | None
    error: str
    late: bool = False

    @property
    def nothing(self) -> bool:
        """Whether nothing at all was read in time."""
        return self.late and all(check.status in _LATE for check in self.checks.values())


def read_runs(
    surroundings: Surroundings, requests: Sequence[Request], *, name: str, deadline: float
) -> list[Answer]:
    """Read runs back; a check passes only when the rows it promises are in the database too.

    Raises:
        ClientError: when the client's program breaks, or ends without an answer.
        ClientTimeoutError: when it is not done at the deadline.
    """
    # New names for each read: an old answer in the same folder must not pass for this one's.
    token = uuid.uuid4().hex
    request_file = surroundings.work / f"request-{token}.json"
    answer_file = surroundings.work / f"answer-{token}.json"
    left = deadline - time.monotonic()
    runs = [request.question(surroundings.database) for request in requests]
    # By the wall clock: what monotonic() counts from means nothing in another process.
    question = {"deadline": time.time() + left, "runs": runs}
    request_file.write_text(json.dumps(question), encoding="utf-8")
    # A file, not a module: the harness is not installed beside the client.
    command = [str(surroundings.python), str(READBACK), str(request_file), str(answer_file)]
    finished = run_program(surroundings, Program(name, command, grace=_GRACE_SECONDS), deadline)
    # A file, not the output: what a probe prints would stand in the middle of the answer.
    if finished.code or not answer_file.exists():
        how = f"ended with exit code {finished.code} and left no answer"
        raise ClientError(f"{name} {how}: {last_words(finished.log)}")
    try:
        raw = json.loads(answer_file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ClientError(f"{name} left an answer that cannot be read: {error}") from error
    # One listing for all requests: each is a process, and may be long.
    objects = surroundings.objects() if any(request.checks for request in requests) else None
    answers = [
        _answer(surroundings, request, answer, objects)
        for request, answer in zip(requests, raw, strict=True)
    ]
    if all(answer.nothing for answer in answers):
        raise not_in_time(surroundings, name)
    return answers


def _answer(
    surroundings: Surroundings,
    request: Request,
    answer: dict[str, Any],
    objects: Sequence[Row] | None,
) -> Answer:
    actions = {check.name: check.action for check in request.cell.checks}
    # As a set: most checks are about one run, whose rows are read once.
    runs = {request.run_of(actions[name]) for name in request.checks}
    found = _found(surroundings, request, runs, objects)
    checks = {
        name: _judge(check, found[request.run_of(actions[name])])
        for name, check in answer["checks"].items()
    }
    listing = _judge(answer["listing"], {})
    return Answer(checks, answer["inventory"], listing.reason, listing.status in _LATE)


def _found(
    surroundings: Surroundings, request: Request, runs: set[str], objects: Sequence[Row] | None
) -> dict[str, dict[str, Sequence[Row]]]:
    """Return what the database and the object store have of runs, by run."""
    stored: dict[str, Sequence[Row]] = {} if objects is None else {OBJECTS: objects}
    if surroundings.database is None or not runs:
        return dict.fromkeys(runs, stored)
    rows = rows_of_runs(surroundings.database, request.cell.probe.flow, runs)
    return {run_id: {**stored, **rows[run_id]} for run_id in runs}


def _judge(check: dict[str, Any], found: dict[str, Sequence[Row]]) -> CheckOutcome:
    """Believe a check only when what it promises is in the database and the object store."""
    if check["status"] != "pass":
        # Unset, unlike an empty text, is left out of the journal.
        because = check.get("because") or msgspec.UNSET
        return CheckOutcome(Status(check["status"]), plain(check["reason"]), because)
    # Without a database, or an object store, nothing can be compared with what would be in it.
    has_database = bool(set(found) - {OBJECTS})
    promised = {
        table: wanted
        for table, wanted in check["rows"].items()
        if (table in found if table == OBJECTS else has_database)
    }
    missing = missing_rows(promised, found)
    return CheckOutcome(Status.FAIL, missing) if missing else CheckOutcome(Status.PASS)


def problems(reader: str, run: WrittenRun, answer: Answer) -> list[str]:
    """Return what a client no longer finds as it was in a run of an earlier stage. Pure."""
    where = f"{run.pathspec} of client {run.cell.client.name}, read by client {reader}"
    if answer.inventory is None:
        return [f"{where}: cannot be listed: {answer.error}"]
    found = [
        f"{where}: {name}: {check.reason}"
        for name, check in answer.checks.items()
        if check.status is not Status.PASS
    ]
    return found + [f"{where}: {text}" for text in differences(run.inventory, answer.inventory)]


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return what an inventory lacks or has in excess of an earlier one, in words. Pure."""
    was, is_now = _flat(before), _flat(now)
    return [f"{item} is gone" for item in sorted(was - is_now)] + [
        f"{item} is new" for item in sorted(is_now - was)
    ]


def _flat(inventory: dict[str, Any]) -> set[str]:
    items = {f"tag {tag!r}" for tag in inventory["tags"]}
    for step, tasks in inventory["steps"].items():
        items.add(f"step {step}")
        for task, content in tasks.items():
            items.add(f"task {step}/{task}")
            items |= {f"artifact {step}/{task}/{name}" for name in content["artifacts"]}
            # As pairs: since schema 20201002000616 a task may have several metadata of one name.
            items |= {f"metadata {step}/{task} {pair!r}" for pair in content["metadata"]}
    return items
