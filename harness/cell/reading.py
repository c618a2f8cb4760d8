"""Reads runs back through a client, in one process of that client for all of them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cell.client import (
    ClientError,
    Surroundings,
    last_words,
    not_in_time,
    run_program,
)
from harness.cell.rows import OBJECTS, Row, missing_rows
from harness.database.rows import run_rows
from harness.outcome import CheckOutcome, Status
from harness.plan import Cell

READBACK = Path(__file__).with_name("readback.py")

_GRACE_SECONDS = 10.0
"""The program ends in time by itself; it may begin late, and has its answer to write."""


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
class Again:
    """A run of an earlier stage that its client reads again.

    Attributes:
        checked: whether the checks that it passed are made again; it is listed and compared in any
            case.
    """

    run: WrittenRun
    checked: bool


@dataclass(frozen=True)
class Request:
    """A run to read, and the checks to make on it."""

    cell: Cell
    run_id: str
    checks: tuple[str, ...]


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
    around: Surroundings, requests: Sequence[Request], *, name: str, deadline: float
) -> list[Answer]:
    """Read runs back; a check passes only when the rows it promises are in the database too.

    Raises:
        ClientError: when the client's program breaks, or ends without an answer.
        ClientTimeoutError: when it is not done at the deadline.
    """
    token = uuid.uuid4().hex
    request_file = around.work / f"request-{token}.json"
    answer_file = around.work / f"answer-{token}.json"
    questions = [
        {
            "flow_file": str(request.cell.probe.path),
            "flow": request.cell.probe.flow,
            "run_id": request.run_id,
            "ends": request.cell.probe.ends,
            "checks": list(request.checks),
        }
        for request in requests
    ]
    left = deadline - time.monotonic()
    question = {"deadline": time.time() + left, "runs": questions}
    request_file.write_text(json.dumps(question), encoding="utf-8")
    arguments = [str(READBACK), str(request_file), str(answer_file)]
    log = run_program(around, arguments, name=name, deadline=deadline, grace=_GRACE_SECONDS)
    if not answer_file.exists():
        raise ClientError(f"{name} ended well but left no answer: {last_words(log)}")
    raw = json.loads(answer_file.read_text(encoding="utf-8"))
    objects = around.objects() if any(request.checks for request in requests) else None
    answers = [
        _answer(around, request, answer, objects)
        for request, answer in zip(requests, raw, strict=True)
    ]
    if all(answer.nothing for answer in answers):
        raise not_in_time(around, name)
    return answers


def _answer(
    around: Surroundings,
    request: Request,
    answer: dict[str, Any],
    objects: Sequence[Row] | None,
) -> Answer:
    found: dict[str, Sequence[Row]] = {}
    if objects is not None:
        found[OBJECTS] = objects
    if around.database is not None and request.checks:
        found |= run_rows(around.database, request.cell.probe.flow, request.run_id)
    checks = {name: _judge(check, found) for name, check in answer["checks"].items()}
    listing = _judge(answer["listing"], {})
    return Answer(checks, answer["inventory"], listing.reason, listing.status in _LATE)


def _judge(check: dict[str, Any], found: dict[str, Sequence[Row]]) -> CheckOutcome:
    """Believe a check only when what it promises is in the database and the object store."""
    if check["status"] != "pass":
        return CheckOutcome(Status(check["status"]), _clean(check["reason"]))
    # Without a database, or an object store, nothing can be compared with what would be in it.
    has_database = bool(set(found) - {OBJECTS})
    promised = {
        table: wanted
        for table, wanted in check["rows"].items()
        if (table in found if table == OBJECTS else has_database)
    }
    missing = missing_rows(promised, found)
    return CheckOutcome(Status.FAIL, missing) if missing else CheckOutcome(Status.PASS)


def _clean(text: str) -> str:
    """Return a text without lone surrogates, which no file or database takes. Pure."""
    return text.encode("utf-8", "replace").decode("utf-8")


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
            items |= {f"metadata {step}/{task} {pair!r}" for pair in content["metadata"]}
    return items
